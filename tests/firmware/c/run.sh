#!/bin/sh
# Trains through the C interface on an emulated Cortex-M4F and on this machine, compares every bit with the Rust programs,
# and takes a network from the desk to the chip and back. See ../README.md.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$here/../target}
out=$target/c
chip=thumbv7em-none-eabihf
cpu="-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16"
# No fused multiply-add unless written, as in Rust.
flags="-std=c99 -Wall -Wextra -Wpedantic -Werror -ffp-contract=off -I $root/core/capi/include -I $out"

fail() {
    echo "run.sh: $1" >&2
    exit 1
}

# The static library for the chip, for size: with rustup's core library, or with one built from a distribution's source.
build_library() {
    set -- build --quiet --release --package sse-sam-c --target $chip \
        --config 'profile.release.opt-level="s"' --config 'profile.release.panic="abort"'
    if [ "${FIRMWARE_CORE:-rustup}" = rustup ] && rustup target list --installed 2>/dev/null | grep -qx $chip; then
        cargo "$@" --target-dir "$target/chips"
        library=$target/chips/$chip/release/libsse_sam_c.a
    elif [ -x /usr/bin/rustc ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
        env RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 /usr/bin/cargo "$@" --target-dir "$target/chips-source" \
            -Zbuild-std=core -Zbuild-std-features=optimize_for_size
        library=$target/chips-source/$chip/release/libsse_sam_c.a
    else
        fail "no core library for $chip
  hint: rustup target add $chip, or apt-get install rustc-web cargo-web rust-web-src"
    fi
}

# link PROGRAM [OPTION...]: a program for the chip. A panic path in the library would be a link error.
link() {
    program=$1
    shift
    # shellcheck disable=SC2086
    arm-none-eabi-gcc $cpu $flags -Os -ffreestanding -ffunction-sections -nostdlib "$@" \
        -Wl,--gc-sections -Wl,-z,noexecstack -L "$here/../chip/link" -T arm.x -o "$out/$program.elf" \
        "$program.c" trials.c machine.c chip.c start.S samples.S "$library"
}

# try PROGRAM: runs it here and on the chip, and compares the two.
try() {
    link "$1"
    # shellcheck disable=SC2086
    ${CC:-cc} $flags -O2 -o "$out/$1" "$1.c" trials.c machine.c desk.c samples.S "$target/release/libsse_sam_c.a" -lm -lpthread -ldl
    "$out/$1" >"$out/$1.txt" || { tail -n 3 "$out/$1.txt" >&2; fail "$1 failed on this machine"; }
    timeout 300 qemu-system-arm -machine mps2-an386 -cpu cortex-m4 -nographic -monitor none -serial none \
        -icount shift=0 -semihosting-config enable=on,target=native -kernel "$out/$1.elf" >"$out/$1.log" 2>&1 ||
        { tail -n 3 "$out/$1.log" >&2; fail "$1 failed on the chip"; }
    grep -v '^stack ' "$out/$1.log" | cmp - "$out/$1.txt" >&2 || fail "$1 on the chip differs from this machine"
    arm-none-eabi-size -A "$out/$1.elf" | awk -v name="$1" -v stack="$(sed -n 's/^stack //p' "$out/$1.log")" '
        { size[$1] = $2 }
        END { printf "%-10s  %d bytes of flash, %d of RAM, %d of stack\n", name, size[".text"] + size[".rodata"], size[".bss"], stack }'
}

# idx NAME FIRST LENGTH HEADER: a file of IDX format, of some of the digits.
idx() {
    { printf "$4"; tail -c +$(($2 + 1)) ../assets/digits.bin | head -c "$3"; } >"$out/digits/$1"
}

# confused WEIGHTS LINE: fails unless `sse-sam eval` counts as the chip did after it had printed LINE.
confused() {
    "$target/release/sse-sam" eval "$1" --device cpu | tail -n 10 | awk '{ $1 = $2 = $3 = ""; $0 = $0; $1 = $1; print }' >"$out/eval"
    sed -n "/^$2\$/,\$p" "$out/continued.txt" | sed -n 's/^confusion \(.*[0-9]\) *$/\1/p' | head -n 10 >"$out/confusion"
    [ "$(wc -l <"$out/confusion")" = 10 ] || fail "the chip printed no confusion"
    cmp "$out/eval" "$out/confusion" >&2 || fail "sse-sam eval $1 counts otherwise than the chip"
    echo "$2: $(awk '{ right += $NR } END { print right }' "$out/confusion") of 100 test images, there and here"
}

command -v arm-none-eabi-gcc qemu-system-arm >/dev/null || fail "a C compiler for ARM or QEMU is missing
  hint: apt-get install gcc-arm-none-eabi qemu-system-arm"
mkdir -p "$out/digits"
cd "$here"
(cd "$root" && build_library && echo "$library" >"$out/library" &&
    cargo build --quiet --release --package sse-sam-c --package sse-sam --target-dir "$target")
library=$(cat "$out/library")
(cd .. && cargo build --quiet --release --package sse-sam-desk --target-dir "$target")

for trial in perceptron residual; do
    try $trial
    "$target/release/sse-sam-desk" $trial | cmp - "$out/$trial.txt" >&2 || fail "$trial in C differs from Rust"
done

# Every function of the header in one program: none has a panic path.
all=$(sed -n 's/^[a-z].*\(sse_sam_[a-z_]*\)(.*/-Wl,--undefined=\1/p' "$root/core/capi/include/sse_sam.h")
# shellcheck disable=SC2086
link perceptron $all

# A network trained on the desk, for a while, on the same digits; then on the chip; then evaluated on the desk.
idx train-labels-idx1-ubyte 0 160 '\0\0\010\001\0\0\0\240'
idx t10k-labels-idx1-ubyte 160 100 '\0\0\010\001\0\0\0\144'
idx train-images-idx3-ubyte 260 10240 '\0\0\010\003\0\0\0\240\0\0\0\010\0\0\0\010'
idx t10k-images-idx3-ubyte 10500 6400 '\0\0\010\003\0\0\0\144\0\0\0\010\0\0\0\010'
rm -rf "$out/run"
sse_sam=$target/release/sse-sam
"$sse_sam" train --data "$out/digits" --model mlp:64-32-10 --epochs 3 --batch 16 --eta 20 --device cpu --quiet --out "$out/run"
"$sse_sam" export "$out/run/last.safetensors" --format c --out "$out/network.h"
try continued
confused "$out/run/last.safetensors" "from the desk"
"$sse_sam" import "$out/continued.log" --like "$out/run/last.safetensors" --out "$out/chip.safetensors"
confused "$out/chip.safetensors" "on the chip"
echo "the same bits in C, and from desk to chip and back"
