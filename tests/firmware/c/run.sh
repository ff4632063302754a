#!/bin/sh
# Trains through the C interface on emulated chips and on this machine, compares every bit with the Rust programs, measures
# the label, and takes a network from the desk to the chip and back. See ../README.md.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$here/../target}
out=$target/c
# No fused multiply-add unless written, as in Rust.
flags="-std=c99 -Wall -Wextra -Wpedantic -Werror -ffp-contract=off -I $root/core/capi/include -I $out"
programs="perceptron residual economy"

fail() {
    echo "run.sh: $1" >&2
    exit 1
}

# Sets what belongs to a chip: options of the C compiler, board and processor for QEMU.
choose() {
    chip=$1
    case $chip in
        thumbv7em-none-eabihf)
            cpu="-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16"
            board="-machine mps2-an386 -cpu cortex-m4"
            ;;
        thumbv7m-none-eabi)
            cpu="-mcpu=cortex-m3 -mthumb -mfloat-abi=soft"
            board="-machine mps2-an385 -cpu cortex-m3"
            ;;
    esac
    mkdir -p "$out/$chip"
}

# The static library for the chip, for size: with rustup's core library, or with one built from a distribution's source.
build_library() {
    set -- build --quiet --release --package sse-sam-c --target "$chip" --config 'profile.release.opt-level="s"' \
        --config 'profile.release.panic="abort"' --config 'profile.release.package.libm.opt-level="z"'
    if [ "${FIRMWARE_CORE:-rustup}" = rustup ] && rustup target list --installed 2>/dev/null | grep -qx "$chip"; then
        core=rustup
        (cd "$root" && cargo "$@" --target-dir "$target/chips")
        library=$target/chips/$chip/release/libsse_sam_c.a
    elif [ -x /usr/bin/rustc ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
        core=source
        (cd "$root" && env RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 /usr/bin/cargo "$@" --target-dir "$target/chips-source" \
            -Zbuild-std=core -Zbuild-std-features=optimize_for_size)
        library=$target/chips-source/$chip/release/libsse_sam_c.a
    else
        fail "no core library for $chip
  hint: rustup target add $chip, or apt-get install rustc-web cargo-web rust-web-src"
    fi
}

# link PROGRAM NAME [OPTION...]: a program for the chip. A panic path in the library would be a link error.
link() {
    program=$1
    name=$2
    shift 2
    # shellcheck disable=SC2086
    arm-none-eabi-gcc $cpu $flags -Os -ffreestanding -ffunction-sections -fdata-sections -nostdlib "$@" \
        -Wl,--gc-sections -Wl,-z,noexecstack -L "$here/../chip/link" -T arm.x -o "$out/$chip/$name.elf" \
        "$program.c" trials.c machine.c chip.c start.S samples.S "$library"
}

# emulate NAME: runs a program on the chip; leaves what it prints in NAME.log.
emulate() {
    # shellcheck disable=SC2086
    timeout 300 qemu-system-arm $board -nographic -monitor none -serial none -icount shift=0 \
        -semihosting-config enable=on,target=native -kernel "$out/$chip/$1.elf" >"$out/$chip/$1.log" 2>&1 ||
        { tail -n 3 "$out/$chip/$1.log" >&2; fail "$1 failed on $chip"; }
}

# desk PROGRAM: runs it on this machine; leaves what it prints in PROGRAM.txt.
desk() {
    # shellcheck disable=SC2086
    ${CC:-cc} $flags -O2 -o "$out/$1" "$1.c" trials.c machine.c desk.c samples.S "$target/release/libsse_sam_c.a" -lm -lpthread -ldl
    "$out/$1" >"$out/$1.txt" || { tail -n 3 "$out/$1.txt" >&2; fail "$1 failed on this machine"; }
    [ -s "$out/$1.txt" ] || fail "$1 prints nothing to compare"
}

# try PROGRAM: runs it on the chip and compares what it prints with what it prints here.
try() {
    link "$1" "$1"
    emulate "$1"
    grep -v '^stack ' "$out/$chip/$1.log" | cmp - "$out/$1.txt" >&2 || fail "$1 on $chip differs from this machine"
}

# bytes SYMBOL FILE: how many a symbol takes.
bytes() {
    printf %d "0x$(arm-none-eabi-nm -S "$2" | awk -v name="$1" '$4 == name { print $2 }')"
}

# measure PROGRAM: runs it as a program that only trains, compares what it has learnt, prints its row of the label. The
# copy of the weights, which is there for the hash, is no part of its RAM.
measure() {
    link "$1" "label-$1" -DLABEL
    emulate "label-$1"
    learnt=$(sed -n 's/.*\(hash .*\)/\1/p' "$out/$1.txt" | tail -n 1)
    [ -n "$learnt" ] || fail "$1 prints no hash of what it has learnt"
    grep -qxF "$learnt" "$out/$chip/label-$1.log" || fail "label-$1 on $chip has learnt something else"
    elf=$out/$chip/label-$1.elf
    arm-none-eabi-size -A "$elf" | awk -v key="$chip|$core|$1" -v weights="$(bytes weights "$elf")" \
        -v arena="$(bytes arena "$elf")" -v stack="$(sed -n 's/^stack \([0-9]*\).*/\1/p' "$out/$chip/label-$1.log")" '
        { size[$1] = $2 }
        END { printf "%s|%d|%d|%d|%d|%d\n", key, size[".text"], size[".rodata"], size[".bss"] - weights, arena, stack }'
}

# Perceptrons link nothing of residual networks and no power; the residual network shows that the search would find it. Pooling
# is not looked for: it is inlined, so it has no symbol.
search() {
    foreign='convolution|batch_norm|shortcut|powf'
    for program in perceptron economy; do
        if arm-none-eabi-nm "$out/$chip/label-$program.elf" | grep -E "$foreign"; then fail "$program links these"; fi
    done
    for word in $(echo "$foreign" | tr '|' ' '); do
        arm-none-eabi-nm "$out/$chip/label-residual.elf" | grep -q "$word" || fail "residual has no symbol of $word"
    done
}

# table LABEL: the rows of the table in ../README.md.
table() {
    awk -F'|' '
        function thousands(number) {
            return number < 1000 ? number : thousands(int(number / 1000)) sprintf(",%03d", number % 1000)
        }
        BEGIN { chip["thumbv7em-none-eabihf"] = "Cortex-M4F"; chip["thumbv7m-none-eabi"] = "Cortex-M3" }
        { gsub(" ", "") }
        $2 == "source" {
            printf "| %-10s | `%s`%*s |", chip[$1], $3, 10 - length($3), ""
            printf " %6s | %7s | %7s | %6s |\n", thousands($4 + $5), thousands($6), thousands($7), thousands($8)
        }
    ' "$1"
}

# Fails when a program costs more than its row of label.txt by over 5 %, or README's table has other numbers than that.
gate() {
    awk -F'|' '
        function key() { return $1 " " $2 " " $3 }
        { gsub(" ", "") }
        FNR == NR { flash[key()] = $4 + $5; ram[key()] = $6; next }
        FNR == 1 { next }
        !(key() in flash) { print "run.sh: label.txt has no row for " key(); next }
        $4 + $5 > 1.05 * flash[key()] { print "run.sh: flash grew by more than 5 %: " key(); status = 1 }
        $6 > 1.05 * ram[key()] { print "run.sh: RAM grew by more than 5 %: " key(); status = 1 }
        END { exit status }
    ' label.txt "$out/label"
    [ -n "$(table label.txt)" ] || fail "label.txt has no row for ../README.md"
    table label.txt | while read -r row; do
        grep -qxF "$row" ../README.md || fail "../README.md does not have the row of label.txt:
$row"
    done
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

# A network trained on the desk, for a while, on the same digits, as a header.
train_on_the_desk() {
    idx train-labels-idx1-ubyte 0 160 '\0\0\010\001\0\0\0\240'
    idx t10k-labels-idx1-ubyte 160 100 '\0\0\010\001\0\0\0\144'
    idx train-images-idx3-ubyte 260 10240 '\0\0\010\003\0\0\0\240\0\0\0\010\0\0\0\010'
    idx t10k-images-idx3-ubyte 10500 6400 '\0\0\010\003\0\0\0\144\0\0\0\010\0\0\0\010'
    rm -rf "$out/run"
    "$target/release/sse-sam" train --data "$out/digits" --model mlp:64-32-10 --epochs 3 --batch 16 --eta 20 --device cpu \
        --quiet --out "$out/run"
    "$target/release/sse-sam" export "$out/run/last.safetensors" --format c --out "$out/network.h"
}

command -v arm-none-eabi-gcc qemu-system-arm >/dev/null || fail "a C compiler for ARM or QEMU is missing
  hint: apt-get install gcc-arm-none-eabi qemu-system-arm"
mkdir -p "$out/digits"
cd "$here"
(cd "$root" && cargo build --quiet --release --package sse-sam-c --package sse-sam --target-dir "$target")
(cd .. && cargo build --quiet --release --package sse-sam-desk --target-dir "$target")
for program in $programs; do
    desk "$program"
    # Arenas are not the same size in C, and there is no plan for evaluation alone.
    "$target/release/sse-sam-desk" "$program" | grep -v '^arena \|^evaluation \|^correct ' | cmp - "$out/$program.txt" >&2 ||
        fail "$program in C differs from Rust"
done
train_on_the_desk
desk continued

echo "target|core|program|text|rodata|ram|arena|stack" >"$out/label"
all=$(sed -n 's/^[a-z].*\(sse_sam_[a-z_]*\)(.*/-Wl,--undefined=\1/p' "$root/core/capi/include/sse_sam.h")
[ -n "$all" ] || fail "no function was found in the header"
for chip in thumbv7em-none-eabihf thumbv7m-none-eabi; do
    choose $chip
    build_library
    for program in $programs; do
        try "$program"
        measure "$program" >>"$out/label"
    done
    try continued
    search
    # Every function of the header in one program: none has a panic path.
    # shellcheck disable=SC2086
    link perceptron all $all
done
tr '|' ' ' <"$out/label" | column -t
table "$out/label" >"$out/table"
cat "$out/table"
gate

choose thumbv7em-none-eabihf
confused "$out/run/last.safetensors" "from the desk"
"$target/release/sse-sam" import "$out/$chip/continued.log" --like "$out/run/last.safetensors" --out "$out/chip.safetensors"
confused "$out/chip.safetensors" "on the chip"
echo "the same bits in C, and from desk to chip and back"
