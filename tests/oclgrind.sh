#!/bin/sh
# Runs every kernel on its smallest shapes under Oclgrind: data races, uninitialised reads and accesses out of bounds
# fail. Needs oclgrind and, for the first build, cargo; says so and passes where oclgrind is missing.
set -eu
cd "$(dirname "$0")/.."
if ! command -v oclgrind >/dev/null; then
    echo "oclgrind is not installed: nothing is tested"
    exit 0
fi
# The program looks for its OpenCL library itself, so that preloading one does not reach it.
library=$(dirname "$(readlink -f "$(command -v oclgrind)")")/../lib/oclgrind/liboclgrind-rt.so
# The path of the test program, as cargo reports it.
program=$(cargo test -p sse-sam --test opencl --no-run 2>&1 | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
# A name that is no test's would pass.
"$program" smallest_shapes --exact --list | grep -qx 'smallest_shapes: test'
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# SSE_SAM_OPENCL_TILES makes the emulated device a CPU of every kind, then a GPU, so that all kernels are run. Optimised code
# has shuffles with undefined lanes, on which Oclgrind 21.10 crashes with --uninitialized: so without optimisation.
for tiles in cpu16 cpu8 cpu4 gpu; do
    echo "tiles: $tiles"
    SSE_SAM_REQUIRE_OPENCL=1 SSE_SAM_OPENCL_LIBRARY=$library SSE_SAM_OPENCL_TILES=$tiles \
        oclgrind --data-races --uninitialized --build-options -cl-opt-disable --log "$log" \
        "$program" smallest_shapes --exact --nocapture --test-threads 1 </dev/null
    if [ -s "$log" ]; then
        cat "$log"
        exit 1
    fi
done
echo "no report"
