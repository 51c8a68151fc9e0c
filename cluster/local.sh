#!/usr/bin/env bash
# One machine as a cluster: a Ray head and an S3 server (local.py, README.md).
#   cluster/local.sh start|stop|status [--state FOLDER] [--dashboard-port N] ...
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python
if [[ ! -x $python ]]; then
    echo "$python is missing: run \`make setup\` in $root" >&2
    exit 2
fi
PYTHONPATH=$root exec "$python" -m cluster.local "$@"
