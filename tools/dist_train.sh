#!/usr/bin/env bash
# Train on several GPUs of one machine, or of each of NNODES machines.
set -euo pipefail

if [[ $# -lt 2 ]]; then
    echo "usage: [NNODES=1] [NODE_RANK=0] [MASTER_ADDR=127.0.0.1] [PORT=29500]" \
        "bash $0 CONFIG GPUS [options of train.py]" >&2
    exit 2
fi

tools=$(cd "$(dirname "$0")" && pwd)
config=$1
gpus=$2
shift 2

export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
exec python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$tools/train.py" "$config" --launcher pytorch "$@"
