#!/usr/bin/env bash
# How many steps do four methods take away from the last weights of plain descent? Counts them on the built-in digits for ten
# seeds, as README.md beside this script says, and prints the table.
#
#   tests/saddles/escape.sh PROGRAM OUT
#
#   PROGRAM  target/release/sse-sam
#   OUT      the folder of study.sh, whose runs of plain descent are taken where they are there and trained where they are
#            not; escape-MODEL.tsv is written there, with a line for each seed, group and method
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
program=$(readlink -f "$1")
mkdir -p "$2"
out=$(readlink -f "$2")
here=$(dirname "$(readlink -f "$0")")
model=mlp:64-32-10
name=${model//:/-}
options=(--device cpu --threads 1)
export SSE_SAM_CACHE=$out/cache

: > "$out/escape-$name.part"
for seed in 0 1 2 3 4 5 6 7 8 9; do
  run=$out/runs/$name-sgd-$seed
  if [ ! -e "$run/last.safetensors" ]; then
    rm -rf "$run"
    "$program" train --data digits --imbalance 50 --model $model --epochs 30 --method sgd --seed $seed --quiet --out "$run" \
      "${options[@]}" > /dev/null
  fi
  rm -f "$run/escape.jsonl"
  "$program" spectrum "$run/last.safetensors" --steps 60 --groups head,tail --escape --escape-steps 2000 --json \
    --out "$run/escape.jsonl" "${options[@]}" > /dev/null
  awk -v model=$model -v seed=$seed -f "$here/escape-lines.awk" "$run/escape.jsonl" >> "$out/escape-$name.part"
done
mv "$out/escape-$name.part" "$out/escape-$name.tsv"
awk -f "$here/escape-report.awk" "$out/escape-$name.tsv"
