#!/usr/bin/env bash
# cargo.sh ARGUMENTS…: cargo with the environment that this project builds in.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ROCKSDB_LIB_DIR=$("$ROOT/dev/rocksdb/build.sh")
export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1

# The tests of the protocol read the test vectors of the Go implementation.
if [ "${1:-}" = test ]; then
  INDIGO_DIR=$(cd "$ROOT/dev/tools/indigo" && go mod download -json github.com/bluesky-social/indigo | jq -r .Dir)
  export INDIGO_DIR
fi

cd "$ROOT"
exec cargo "$@"
