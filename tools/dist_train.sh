#!/usr/bin/env bash
# Train on several GPUs of one machine, or of each of NNODES machines.
set -euo pipefail

if [[ $# -lt 2 ]]; then
    echo "usage: [NNODES=1] [NODE_RANK=0] [MASTER_ADDR=127.0.0.1] [PORT=29500]" \
        "[RDZV_ID=...]" \
        "bash $0 CONFIG GPUS [options of train.py]" >&2
    exit 2
fi

tools=$(cd "$(dirname "$0")" && pwd)
config=$1
gpus=$2
shift 2

export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
# On these the launcher tells all processes to save and to end.
export TORCHELASTIC_SIGNALS_TO_HANDLE="${TORCHELASTIC_SIGNALS_TO_HANDLE:-SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1}"
if [[ -n ${RDZV_ID:-} ]]; then
    # All nodes start the same command; they find their ranks themselves.
    nodes=(
        --nnodes="${NNODES:-1}"
        --rdzv_backend=c10d
        --rdzv_id="$RDZV_ID"
        --rdzv_endpoint="${MASTER_ADDR:-127.0.0.1}:${PORT:-29500}"
    )
else
    nodes=(
        --nnodes="${NNODES:-1}"
        --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}"
        --master_port="${PORT:-29500}"
    )
fi
exec python -m torch.distributed.run \
    "${nodes[@]}" \
    --nproc_per_node="$gpus" \
    "$tools/train.py" "$config" --launcher pytorch "$@"
