#!/usr/bin/env bash
# Test on a Slurm cluster; GPUS=0 tests in one process on a CPU partition.
set -euo pipefail

if [[ $# -lt 4 ]]; then
    echo "usage: [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [PORT=29500]" \
        "[SRUN_ARGS=...]" \
        "bash $0 PARTITION JOB_NAME CONFIG CHECKPOINT [options of test.py]" >&2
    exit 2
fi

tools=$(cd "$(dirname "$0")" && pwd)
partition=$1
job_name=$2
config=$3
checkpoint=$4
shift 4

gpus=${GPUS:-8}
if [[ $gpus -eq 0 ]]; then
    launcher=none
    resources=(--ntasks=1)
else
    launcher=slurm
    per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    resources=(
        --gres="gpu:$per_node"
        --nodes="$(((gpus + per_node - 1) / per_node))"
        --ntasks="$gpus"
        --ntasks-per-node="$per_node"
    )
fi

export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
export MASTER_PORT="${PORT:-29500}"
# SRUN_ARGS holds several words.
# shellcheck disable=SC2086
exec srun \
    --partition="$partition" \
    --job-name="$job_name" \
    "${resources[@]}" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    python -u "$tools/test.py" "$config" "$checkpoint" \
    --launcher "$launcher" "$@"
