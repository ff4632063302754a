#!/bin/sh
# Runs every kernel on its smallest shapes under Oclgrind: data races, uninitialised reads and accesses out of bounds
# fail. Needs oclgrind and, for the first build, cargo; says so and passes where oclgrind is missing.
set -eu
cd "$(dirname "$0")/.."
if ! command -v oclgrind >/dev/null; then
    echo "oclgrind is not installed: nothing is tested"
    exit 0
fi
# The path of the test program, as cargo reports it.
program=$(cargo test -p sse-sam --test opencl --no-run 2>&1 | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# SSE_SAM_OPENCL_TILES makes the emulated device a CPU, then a GPU, so that the kernels of both are run.
for tiles in cpu gpu; do
    echo "tiles of a $tiles"
    SSE_SAM_OPENCL_TILES=$tiles oclgrind --data-races --uninitialized --log "$log" \
        "$program" smallest_shapes --exact --test-threads 1 </dev/null
    if [ -s "$log" ]; then
        cat "$log"
        exit 1
    fi
done
echo "no report"
