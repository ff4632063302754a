#!/usr/bin/env bash
# Makes the results in README.md anew and compares every character: the CPU core gives the same bits everywhere.
# Twenty runs of a quarter of a minute, as many at a time as there are cores.
set -euo pipefail
cd "$(dirname "$0")/.."
made=$(cargo run --quiet --release -p sse-sam --example compare_methods -- --device cpu)
compared=0 missing=0
while IFS= read -r line; do
  [ -n "$line" ] || continue
  compared=$((compared + 1))
  # A table as it is, other lines as code.
  grep -qxF -e "$line" -e "    $line" README.md || { echo "README.md does not have: $line" >&2; missing=$((missing + 1)); }
done <<< "$made"
# A head, a rule, four methods, three differences.
if [ "$compared" != 9 ]; then
  printf '%s\n' "the comparison has printed $compared lines instead of 9:" "$made" >&2
  exit 1
fi
[ "$missing" = 0 ] || exit 1
echo "README has what the program gives"
