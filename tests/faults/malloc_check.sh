#!/usr/bin/env bash
# The tests with two processes, N times, with glibc's checks of the heap in
# all processes: bash tests/faults/malloc_check.sh [N] [FILE]
# FILE gets a line for each run; those that passed in it are not run again.
# Without libc_malloc_debug.so MALLOC_CHECK_ does nothing from glibc 2.34 on.
set -eu
cd "$(dirname "$0")/../.."
times=${1:-10}
results=${2:-/dev/null}
export LD_PRELOAD=libc_malloc_debug.so.0 MALLOC_CHECK_=3 OMP_NUM_THREADS=1
# A byte behind the end of a block has to end the process.
overrun='
import ctypes
api = ctypes.pythonapi
api.PyMem_RawMalloc.restype = ctypes.c_void_p
block = ctypes.c_void_p(api.PyMem_RawMalloc(20))
ctypes.memset(block, 255, 21)
api.PyMem_RawFree(block)
'
if { (ulimit -c 0 && exec python -c "$overrun"); } 2> /dev/null; then
    echo 'error: the heap is not checked: is libc_malloc_debug.so.0 there?' >&2
    exit 1
fi
two='run_ranks|Run\(.*, 2|processes=2|def test_dist_train'
mapfile -t files < <(grep -lE "$two" -r tests --include='test_*.py' | sort)
[[ -c $results ]] || touch "$results"
passed=$(grep -c 'passed$' "$results" || true)
failed=0
for number in $(seq "$((passed + 1))" "$times"); do
    echo "run $number of $times"
    if python -m pytest -p no:cacheprovider "${files[@]}"; then
        passed=$((passed + 1))
        echo "run $number of $times: passed" | tee -a "$results"
    else
        failed=$((failed + 1))
        echo "run $number of $times: failed" | tee -a "$results"
    fi
done
echo "$passed of $times runs passed"
exit "$((failed > 0))"
