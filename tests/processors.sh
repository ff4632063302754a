#!/bin/sh
# Trains on emulated 64-bit ARM and 32-bit x86 processors and on this machine: the same bits?
#
#   processors.sh [TARGET...]   aarch64-unknown-linux-musl and i686-unknown-linux-musl by default
#
# Needs QEMU's user-mode emulators (on Debian qemu-user) and the targets' core libraries (rustup target add TARGET); says what
# it skips without.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# train NAME COMMAND...: sums of the weights that some recipes end with.
train() {
    name=$1
    shift
    while read -r recipe; do
        # shellcheck disable=SC2086
        "$@" train $recipe --device cpu --seed 3 --out "$work/$name" >"$work/log" 2>&1 || { tail -n 3 "$work/log" >&2; exit 1; }
        echo "$(cksum <"$work/$name/last.safetensors") $recipe"
        rm -r "${work:?}/$name"
    done >"$work/$name.sums" <<END
--model mlp:64-32-10 --epochs 2 --method sse-sam
--model resnet8:16 --epochs 1 --method sse-sam --batch 96
--model resnet8:9 --epochs 1 --method sam --memory lean
--model resnet10:8 --epochs 1 --method imbsam --batch 64
END
}

export SSE_SAM_CACHE="$work/cache"
cargo build --quiet --release -p sse-sam --manifest-path "$here/../Cargo.toml"
train here "$target/release/sse-sam"
cat "$work/here.sums"
for triple in ${*:-aarch64-unknown-linux-musl i686-unknown-linux-musl}; do
    case $triple in
    i686-*) emulator=qemu-i386 ;;
    *) emulator=qemu-${triple%%-*} ;;
    esac
    if ! command -v "$emulator" >/dev/null; then
        echo "skipped $triple: there is no $emulator"
    elif ! rustup target list --installed 2>/dev/null | grep -qx "$triple"; then
        echo "skipped $triple: rustup has no core library for it"
    else
        # Linked by Rust's own linker: no C compiler for the target is needed.
        env "CARGO_TARGET_$(echo "$triple" | tr a-z- A-Z_)_LINKER=rust-lld" cargo build --quiet --release -p sse-sam \
            --manifest-path "$here/../Cargo.toml" --target "$triple"
        train "$triple" "$emulator" "$target/$triple/release/sse-sam"
        cmp "$work/here.sums" "$work/$triple.sums" || { echo "processors.sh: $triple trains to other bits" >&2; exit 1; }
        echo "$triple: the same bits"
    fi
done
