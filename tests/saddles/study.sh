#!/usr/bin/env bash
# Does SSE-SAM leave weights where the losses of head and tail curve downward less than other methods do? Trains the built-in
# digits with four methods from the same seeds and measures spectra of Hessians on the way. The question, its test and what
# would refute the claim were fixed before the first run: see README.md beside this script.
#
#   tests/saddles/study.sh PROGRAM OUT [MODEL...]
#
#   PROGRAM  target/release/sse-sam
#   OUT      a folder for the runs, and for MODEL-SEED.tsv with a line for each method, epoch and group. What it has is
#            not done again, so that the script goes on where it was stopped
#   MODEL    networks [mlp:64-32-10 resnet8:8]
#
# From the environment: SADDLES_SEEDS, how many seeds [10]; SADDLES_VECTORS, start vectors of a spectrum [3];
# SADDLES_OPTIONS, what both commands are given besides [--device cpu --threads 1].
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2; }
program=$(readlink -f "$1")
mkdir -p "$2"
out=$(readlink -f "$2")
shift 2
models=("$@")
[ ${#models[@]} -gt 0 ] || models=(mlp:64-32-10 resnet8:8)
read -r -a options <<< "${SADDLES_OPTIONS:---device cpu --threads 1}"

vectors=${SADDLES_VECTORS:-3}
epochs=30
# From 0: the second epoch; the middle and the end of SSE-SAM's first stage; three epochs into its second one; the last.
moments=(1 7 14 17 29)
groups=all,head,tail,class7,class8,class9
export SSE_SAM_CACHE=$out/cache

here=$(dirname "$(readlink -f "$0")")

# Lanczos steps of a network.
steps() { case $1 in mlp:*) echo 60 ;; *) echo 80 ;; esac; }

# Trains into a folder, with a checkpoint after every epoch and more options.
train() {
  local run=$1 model=$2 method=$3 seed=$4
  shift 4
  rm -rf "$run"
  "$program" train --data digits --imbalance 50 --model "$model" --epochs $epochs --method "$method" --seed "$seed" \
    --checkpoint-every 1 --keep $((epochs + 1)) --quiet --out "$run" "${options[@]}" "$@" > /dev/null
}

# The weights at an epoch's end. Where epochs follow each other faster than the disk takes checkpoints, some are left out: then
# the same training is done again, and has to wait for a spectrum after the next epoch, so that the disk has time.
weights() {
  local run=$1 epoch=$5 name try
  name=$(printf 'checkpoints/epoch-%06d-step-0000000.safetensors' $((epoch + 1)))
  for try in 1 2 3 4 5; do
    [ ! -e "$run/$name" ] || { echo "$run/$name"; return; }
    [ ! -e "$run-$epoch/$name" ] || { echo "$run-$epoch/$name"; return; }
    train "$run-$epoch" "$2" "$3" "$4" --spectrum-at $((epoch + 1))
  done
  echo "no checkpoint of epoch $epoch in $run" >&2
  return 1
}

# Measures the spectra at one epoch's end and prints their lines without nodes, with the accuracies of that epoch.
measure() {
  local run=$1 model=$2 method=$3 seed=$4 epoch=$5 weights lines=$1/spectrum-$5.jsonl
  weights=$(weights "$@")
  rm -f "$lines"
  "$program" spectrum "$weights" --groups $groups --steps "$(steps "$model")" --vectors "$vectors" --loss ce --json \
    --out "$lines" "${options[@]}" > /dev/null 2> "$run/errors.txt" || { cat "$run/errors.txt" >&2; return 1; }
  sed -n "$((epoch + 1))p" "$run/metrics.jsonl" | cat - "$lines" |
    awk -v model="$model" -v method="$method" -v seed="$seed" -v epoch="$epoch" -f "$here/lines.awk"
}

for seed in $(seq 0 $((${SADDLES_SEEDS:-10} - 1))); do
  for model in "${models[@]}"; do
    name=${model//:/-}
    [ ! -e "$out/$name-$seed.tsv" ] || continue
    : > "$out/$name-$seed.part"
    for method in sgd sam imbsam sse-sam; do
      run=$out/runs/$name-$method-$seed
      train "$run" "$model" $method "$seed"
      for epoch in "${moments[@]}"; do
        measure "$run" "$model" $method "$seed" "$epoch" >> "$out/$name-$seed.part"
      done
    done
    mv "$out/$name-$seed.part" "$out/$name-$seed.tsv"
    echo "$model, seed $seed: $(wc -l < "$out/$name-$seed.tsv") lines"
  done
done
awk -f "$here/report.awk" "$out"/*-[0-9]*.tsv
