#!/usr/bin/env bash
# Train on a Slurm cluster; GPUS=0 trains in one process on a CPU partition.
# Slurm sends SIGUSR1 SIGNAL_SECONDS before the time limit: the run saves and
# ends with code 75. With REQUEUE=1 the job goes to sbatch, and is queued again
# and resumed each time that happens.
set -euo pipefail

if [[ $# -lt 4 ]]; then
    echo "usage: [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [PORT=29500]" \
        "[TIME=...] [SIGNAL_SECONDS=120] [REQUEUE=0] [SRUN_ARGS=...]" \
        "bash $0 PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]" >&2
    exit 2
fi

tools=$(cd "$(dirname "$0")" && pwd)
partition=$1
job_name=$2
config=$3
work_dir=$4
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
resources+=(--cpus-per-task="${CPUS_PER_TASK:-5}" ${TIME:+--time="$TIME"})
signal=--signal=USR1@${SIGNAL_SECONDS:-120}
# The tasks of a stopped run end one after the other; were the rest killed at
# the first end, their exit code would take the place of 75.
ending=(--kill-on-bad-exit=0 --wait=120)

export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
# The first node of the job listens at this port; mmengine finds its name.
export MASTER_PORT="${PORT:-29500}"
command=(
    python -u "$tools/train.py" "$config" --work-dir "$work_dir"
    --launcher "$launcher" "$@"
)
if [[ ${REQUEUE:-0} != 1 ]]; then
    # SRUN_ARGS holds several words.
    # shellcheck disable=SC2086
    exec srun --partition="$partition" --job-name="$job_name" \
        "${resources[@]}" "$signal" "${ending[@]}" ${SRUN_ARGS:-} \
        "${command[@]}"
fi

mkdir -p "$work_dir"
# shellcheck disable=SC2086
exec sbatch --partition="$partition" --job-name="$job_name" \
    "${resources[@]}" "$signal" --requeue --open-mode=append \
    --output="$work_dir/slurm-%j.log" <<SCRIPT
#!/usr/bin/env bash
code=0
srun ${ending[*]} ${SRUN_ARGS:-} $(printf '%q ' "${command[@]}") --resume || code=\$?
if [[ \$code -eq 75 ]]; then
    scontrol requeue "\$SLURM_JOB_ID"
fi
exit \$code
SCRIPT
