#!/bin/sh
# Trains on emulated chips and on this machine, compares every bit, and measures the label. See README.md.
#
#   run.sh [PROFILE...]     release (for size, the default) or fast; FIRMWARE_CORE=source passes over rustup
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/target}
out=$target/trials
trials="slices perceptron residual sweep economy"
labels="slices perceptron residual economy"
header="target|core|profile|program|text|rodata|ram|arena|stack|stage1|stage2"

fail() {
    echo "run.sh: $1" >&2
    exit 1
}

# Which core library a target gets: rustup's, or one built from a distribution's source.
core_of() {
    if [ "${FIRMWARE_CORE:-rustup}" = rustup ] && rustup target list --installed 2>/dev/null | grep -qx "$1"; then
        echo rustup
    elif [ -x /usr/bin/rustc ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
        echo source
    else
        fail "no core library for $1
  hint: rustup target add $1, or apt-get install rustc-web cargo-web rust-web-src lld"
    fi
}

# build CORE PROFILE TARGET: prints the folder of the programs.
build() {
    if [ "$1" = rustup ]; then
        set -- "$@" "$target/chips"
        cargo build --quiet --profile "$2" --package sse-sam-chip --target "$3" --target-dir "$4" >&2
    else
        set -- "$@" "$target/chips-source"
        linker=CARGO_TARGET_$(echo "$3" | tr a-z- A-Z_)_LINKER
        env RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 "$linker=ld.lld" /usr/bin/cargo build --quiet --profile "$2" \
            -Zbuild-std=core -Zbuild-std-features=optimize_for_size \
            --package sse-sam-chip --target "$3" --target-dir "$4" >&2
    fi
    echo "$4/$3/$2"
}

# emulate TARGET PROGRAM: its output; the emulator's status is the program's.
emulate() {
    case $1 in
        thumbv7em-*) board="qemu-system-arm -machine mps2-an386 -cpu cortex-m4" ;;
        thumbv7m-*) board="qemu-system-arm -machine mps2-an385 -cpu cortex-m3" ;;
        riscv32*) board="qemu-system-riscv32 -machine virt -bios none" ;;
    esac
    # One instruction, one nanosecond: what the counters say can be repeated.
    timeout 300 $board -nographic -monitor none -serial none -icount shift=0 \
        -semihosting-config enable=on,target=native -kernel "$2" 2>&1
}

# try TARGET PROFILE FOLDER TRIAL: runs one program and compares what it prints with what the desk prints.
try() {
    log=$out/$1-$2-$4
    emulate "$1" "$3/$4" >"$log.txt" || { tail -n 3 "$log.txt" >&2; fail "$4 failed on $1 ($2)"; }
    cmp "$log.txt" "$out/$4.txt" >&2 || fail "$4 on $1 ($2) differs from this machine"
}

# measure TARGET CORE PROFILE FOLDER TRIAL: runs the program that only trains, compares what it has learnt, writes its row.
measure() {
    log=$out/$1-$2-$3-$5
    words=$(emulate "$1" "$4/label-$5") || fail "label-$5 failed on $1 ($3)"
    learnt=$(tail -n 1 "$out/$5.txt" | sed 's/.*hash //; s/ *$//')
    # shellcheck disable=SC2086
    set -- "$1" "$2" "$3" "$4" "$5" $words
    [ $# = 14 ] || fail "label-$5 on $1 ($3) printed: $words"
    [ "${13} ${14}" = "$learnt" ] || fail "label-$5 on $1 ($3) differs from this machine"
    row="$1|$2|$3|$5"
    for word in "$6" "$7" "$8" "$9" "${10}" "${11}" "${12}"; do
        row="$row|$(printf %d "0x$word")"
    done
    echo "$row" >"$log.label"
}

# Programs without convolutions link none; the residual one shows that the search would find them.
search() {
    for program in label-slices label-perceptron label-economy; do
        if grep -q convolution "$1/$program"; then fail "$program has a convolution in it"; fi
    done
    grep -q convolution "$1/label-residual" || fail "label-residual has no symbols to search"
}

# table LABEL: the rows of the table in core/README.md.
table() {
    awk -F'|' '
        function thousands(number) {
            return number < 1000 ? number : thousands(int(number / 1000)) sprintf(",%03d", number % 1000)
        }
        BEGIN {
            chip["thumbv7em-none-eabihf"] = "Cortex-M4F"; chip["thumbv7m-none-eabi"] = "Cortex-M3"
            chip["riscv32imac-unknown-none-elf"] = "RISC-V 32"
        }
        { gsub(" ", "") }
        $2 == "source" && $3 == "release" {
            printf "| %-10s | `%s`%*s |", chip[$1], $4, 10 - length($4), ""
            printf " %6s | %7s | %7s | %6s |", thousands($5 + $6), thousands($7), thousands($8), thousands($9)
            printf " %11s | %11s |\n", thousands($10), thousands($11)
        }
    ' "$1"
}

command -v qemu-system-arm qemu-system-riscv32 >/dev/null || fail "QEMU for ARM and RISC-V is missing
  hint: apt-get install qemu-system-arm qemu-system-misc"
running=
trap 'kill $running 2>/dev/null; exit 1' INT TERM
mkdir -p "$out"
cd "$here"
cargo build --quiet --release --package sse-sam-desk --target-dir "$target"
for trial in $trials; do
    "$target/release/sse-sam-desk" "$trial" >"$out/$trial.txt"
    [ -s "$out/$trial.txt" ] || fail "$trial prints nothing to compare"
done
cmp "$out/slices.txt" "$out/perceptron.txt" || fail "slices and executor differ on this machine"
# What is trained is evaluated alike where it lies in constant memory.
awk '
    $8 == "correct" { before = $9 }
    $1 == "correct" { found += 1; if ($2 != before) status = 1 }
    END { exit status || found == 0 }
' "$out/economy.txt" || fail "an inference plan evaluates the same parameters otherwise"

rm -f "$out"/*.label
for profile in ${*:-release}; do
    for chip in thumbv7em-none-eabihf thumbv7m-none-eabi riscv32imac-unknown-none-elf; do
        core=$(core_of $chip)
        folder=$(build "$core" "$profile" $chip)
        running=
        for trial in $trials; do
            try $chip "$profile" "$folder" "$trial" &
            running="$running $!"
        done
        for trial in $labels; do
            measure $chip "$core" "$profile" "$folder" "$trial" &
            running="$running $!"
        done
        search "$folder"
        for process in $running; do
            wait "$process" || exit 1
        done
    done
done

{ echo "$header"; cat "$out"/*.label; } >"$out/label"
tr '|' ' ' <"$out/label" | column -t
awk -F'|' '
    function key() { return $1 " " $2 " " $3 " " $4 }
    { gsub(" ", "") }
    FNR == NR { flash[key()] = $5 + $6; ram[key()] = $7; next }
    FNR == 1 { next }
    !(key() in flash) { print "run.sh: label.txt has no row for " key(); next }
    $5 + $6 > 1.05 * flash[key()] { print "run.sh: flash grew by more than 5 %: " key(); status = 1 }
    $7 > 1.05 * ram[key()] { print "run.sh: RAM grew by more than 5 %: " key(); status = 1 }
    $4 != "residual" && $7 > $8 + 1024 { print "run.sh: more than 1 KiB of RAM beside the arena: " key(); status = 1 }
    # What the perceptron may take of a Cortex-M4F at most.
    $1 == "thumbv7em-none-eabihf" && $2 == "source" && $3 == "release" {
        if ($4 == "perceptron" && $5 + $6 >= 24576) { print "run.sh: the executor takes 24 KiB of flash"; status = 1 }
        if ($4 == "slices" && $5 + $6 >= 10240) { print "run.sh: slices take 10 KiB of flash"; status = 1 }
        if (($4 == "perceptron" || $4 == "slices") && $9 >= 2048) { print "run.sh: 2 KiB of stack: " key(); status = 1 }
    }
    END { exit status }
' "$here/label.txt" "$out/label"
table "$out/label" >"$out/table"
[ -n "$(table "$here/label.txt")" ] || fail "label.txt has no row for core/README.md"
table "$here/label.txt" | while read -r row; do
    grep -qxF "$row" "$here/../../core/README.md" || fail "core/README.md does not have the row of label.txt:
$row"
done || exit 1
echo "the same bits on every machine"
