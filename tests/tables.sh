#!/usr/bin/env bash
# Makes the results of digits-lt anew and compares every digit with those that are kept beside the recipe: the CPU core gives
# the same bits everywhere. Twenty runs of some seconds, as many at a time as there are cores.
set -euo pipefail
cd "$(dirname "$0")/.."
kept=host/recipes/results/digits-lt
out=$(mktemp -d)
trap 'rm -r "$out"' EXIT
cargo run --quiet --release -p sse-sam -- compare --recipe digits-lt --device cpu --jobs "$(nproc)" --quiet --out "$out/digits-lt"
cmp "$out/digits-lt/comparison.csv" $kept.csv
# Times are another machine's.
without_cost() { sed '/^Cost:$/,$d' "$1"; }
cmp <(without_cost "$out/digits-lt/comparison.md") <(without_cost $kept.md)
echo "the results are what the program gives"
