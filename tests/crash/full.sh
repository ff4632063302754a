#!/bin/sh
# The tests of lost, damaged and hostile files at full length; `cargo test` runs them shortened. Takes an hour or more.
#
#   full.sh [PART...]     kills, calls, damage, fuzz, soak; all of them when none is named
#
# PROPTEST_CASES, SSE_SAM_KILLS and the other lengths below can be set from outside.
set -eu
cd "$(dirname "$0")/../.."

run() {
    echo "== $*"
    # A name that is no test's would pass.
    cargo test -q -p sse-sam --test "$@" -- --list | grep -q ': test$'
    cargo test -q -p sse-sam --test "$@" -- --nocapture
}

for part in ${*:-kills calls damage fuzz soak}; do
    case $part in
    # Runs killed at random instants, in mid-checkpoint too, and resumed until they end.
    kills) SSE_SAM_KILLS=${SSE_SAM_KILLS:-300} run crash killed_at_random_instants ;;
    # Each of the first 100 calls of a kind fails; writes are cut short at 100 lengths; the device fails in mid-run.
    calls)
        SSE_SAM_FAILING_CALLS=${SSE_SAM_FAILING_CALLS:-100}
        export SSE_SAM_FAILING_CALLS
        run crash whichever_system_call_fails
        run crash a_write_that_is_cut_short
        run crash a_device_that_fails
        ;;
    # Every byte of a checkpoint's header, 2,000 bits of its numbers, 200 lengths; hostile data and weights.
    damage)
        SSE_SAM_BODY_FLIPS=${SSE_SAM_BODY_FLIPS:-2000} SSE_SAM_TRUNCATIONS=${SSE_SAM_TRUNCATIONS:-200} run damage checkpoints
        run damage data::
        run damage weights::
        run damage cases::
        ;;
    # Ten minutes for each of twelve targets, as many of them side by side as there are cores.
    fuzz)
        SSE_SAM_FUZZ_SECONDS=${SSE_SAM_FUZZ_SECONDS:-600}
        export SSE_SAM_FUZZ_SECONDS
        run damage fuzz::
        run damage cases::
        ;;
    # 100,000 steps on every OpenCL device.
    soak) SSE_SAM_SOAK_STEPS=${SSE_SAM_SOAK_STEPS:-100000} run opencl objects_and_memory_stay_flat ;;
    *)
        echo "full.sh: there is no part $part" >&2
        exit 2
        ;;
    esac
done
