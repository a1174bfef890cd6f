#!/usr/bin/env bash
# Train on several GPUs (or CPU processes): tools/dist_train.sh CONFIG NUM_PROCESSES [train.py options]
set -euo pipefail
config=$1
processes=$2
"${PYTHON:-python}" -m torch.distributed.run --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "${@:3}"
