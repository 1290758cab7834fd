#!/usr/bin/env bash
# make down: ends what `make up` of this checkout started.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
step down "Ending the cluster and the network" as_root "$ROOT/dev/cluster/down.sh"
