#!/usr/bin/env bash
# Makes the images of the relay, the operator and the pods' sandbox from what cargo has built; build.sh says where.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

mkdir -p "$STATE/images"
pause=$STATE/images/pause.bin
[ "$pause" -nt "$ROOT/dev/image/pause.c" ] || gcc -O2 -static -o "$pause" "$ROOT/dev/image/pause.c"
build=$ROOT/dev/image/build.sh
"$build" pause "$pause"
"$build" relay "$CARGO_TARGET_DIR/release/relay"
"$build" relay-operator "$CARGO_TARGET_DIR/release/relay-operator"
