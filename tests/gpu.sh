#!/usr/bin/env bash
# What a GPU makes of the program: first whether it computes right, then what it costs. It needs the program and the
# reference trajectories and spectra beside this script, neither Rust nor a network, and says at the end what failed.
#
#   tests/gpu.sh PROGRAM OUT [DATA]
#
#   PROGRAM  target/release/sse-sam
#   OUT      a new folder for all that is printed, the runs, and bench.jsonl with a line for each measurement
#   DATA     long-tailed images, to train on for two epochs; without them the built-in digits alone are trained on
#
# From the environment: SSE_SAM_DEVICE, what --device is given [opencl]; SSE_SAM_TILES, what --tiles is given [gpu];
# SSE_SAM_MODELS, networks and their batches [resnet32=128 resnet34=64]; SSE_SAM_STEPS, steps that are timed [20];
# SSE_SAM_SPECTRA, cases of reference spectra [all of them];
# SSE_SAM_TESTS, test programs that cargo has built, to be run on the device too.
set -uo pipefail
[ $# -ge 2 ] || { sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 2; }
program=$(readlink -f "$1") out=$2 data=${3:-}
golden=$(dirname "$(readlink -f "$0")")/golden
device=(--device "${SSE_SAM_DEVICE:-opencl}" --tiles "${SSE_SAM_TILES:-gpu}")
steps=${SSE_SAM_STEPS:-20}
mkdir "$out" || exit 1
out=$(readlink -f "$out")
# What tune finds here is no affair of the user's.
export SSE_SAM_CACHE=$out/cache
failed=()

# Runs a command under a title; what it prints goes to the terminal and to a file.
part() {
  local title=$1 start
  shift
  start=$(date +%s%N)
  printf '\n== %s\n' "$title"
  if ! "$@" 2>&1 | tee "$out/${title// /-}.txt"; then
    failed+=("$title")
    echo "FAILED: $title"
  fi
  echo "($(( ($(date +%s%N) - start) / 1000000 )) ms)"
}

# Trains the digits twice and compares every byte of what is left.
repeated() {
  local number
  for number in 1 2; do
    "$program" train --epochs 3 --quiet --out "$out/digits-$number" "${device[@]}" || return 1
  done
  cmp "$out/digits-1/metrics.jsonl" "$out/digits-2/metrics.jsonl" &&
    cmp "$out/digits-1/last.safetensors" "$out/digits-2/last.safetensors" && echo "equal, bit for bit"
}

# Steps of a network by every method that it is judged by, under more options.
steps_of() {
  local model=${1%=*} batch=${1#*=}
  shift
  bench "$model" "$batch" sgd 1 --kernels "$@" && bench "$model" "$batch" sse-sam 1 "$@" &&
    bench "$model" "$batch" sse-sam 2 "$@"
}

bench() {
  local model=$1 batch=$2 method=$3 stage=$4
  shift 4
  "$program" bench --model "$model" --batch "$batch" --method "$method" --stage "$stage" --steps "$steps" --json \
    "${device[@]}" "$@" | tee "$out/last" | grep -v '^{' || return 1
  tail -n 1 "$out/last" >> "$out/bench.jsonl"
  rm "$out/last"
}

part devices "$program" devices
part kernels "$program" devices --kernels "${device[@]}"
part "reference trajectories" "$program" verify "${device[@]}" "$golden"/*.json
for case in ${SSE_SAM_SPECTRA:-mlp-ce mlp-focal mlp-vs resnet8-4-ce resnet8-ce resnet18-4-ce}; do
  part "reference spectrum $case" "$program" verify "${device[@]}" "$golden-spectrum/$case.json"
done
for test in ${SSE_SAM_TESTS:-}; do
  part "tests of $(basename "$test")" env SSE_SAM_REQUIRE_OPENCL=1 SSE_SAM_OPENCL_TILES="${SSE_SAM_TILES:-gpu}" "$test"
done
part "twice the same" repeated
for network in ${SSE_SAM_MODELS:-resnet32=128 resnet34=64}; do
  part "steps of $network as shipped" steps_of "$network"
  part "tuning $network" "$program" tune --model "${network%=*}" --batch "${network#*=}" "${device[@]}"
  part "steps of $network" steps_of "$network"
done
# Not every device has matrix instructions; the program says so then.
if "$program" bench --model resnet8:4 --image 8x8x1 --batch 4 --steps 1 --precision tf32 "${device[@]}" > "$out/tf32.txt" 2>&1; then
  for network in ${SSE_SAM_MODELS:-resnet32=128 resnet34=64}; do
    part "tuning $network in TF32" "$program" tune --model "${network%=*}" --batch "${network#*=}" --precision tf32 "${device[@]}"
    part "steps of $network in TF32" steps_of "$network" --precision tf32
  done
else
  printf '\n== TF32\n'
  cat "$out/tf32.txt"
  grep -q 'needs a GPU with matrix instructions' "$out/tf32.txt" || failed+=(TF32)
fi
if [ -n "$data" ]; then
  for network in ${SSE_SAM_MODELS:-resnet32=128 resnet34=64}; do
    part "two epochs of ${network%=*}" "$program" train --data "$data" --model "${network%=*}" --batch "${network#*=}" \
      --epochs 2 --quiet --out "$out/${network%=*}" "${device[@]}"
    cat "$out/${network%=*}/log.txt"
  done
fi
if [ ${#failed[@]} -gt 0 ]; then
  printf '\nfailed:\n'
  printf '  %s\n' "${failed[@]}"
  exit 1
fi
printf '\nall good; measurements are in %s\n' "$out/bench.jsonl"
