#!/usr/bin/env bash
# run.sh [ARGUMENTS…]: the soak, with its arguments, and the graph of what it has recorded: .dev/soak/soak.{csv,svg}.
# It makes a memory cgroup for the relay where it may, which takes root; the lines of progress say whether it could.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

mkdir -p "$STATE/soak"
status=0
"$CARGO_TARGET_DIR/release/soak" --out "$STATE/soak/soak.csv" "$@" || status=$?
# A run that was not as it should be is worth a look all the more.
"$ROOT/dev/soak/graph.py" "$STATE/soak/soak.csv" "$STATE/soak/soak.svg"
say "graph: $STATE/soak/soak.svg"
exit $status
