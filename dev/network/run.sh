#!/usr/bin/env bash
# run.sh PROGRAM ARGUMENTS…: runs network, consumer or seed with its npm packages, which the first call installs into
# the cache.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$ROOT/dev/network

packages=$CACHE/network-$(key "$(node --version)" "$here/package.json" "$here/package-lock.json")
if [ ! -e "$packages/node_modules" ]; then
  mkdir -p "$CACHE"
  building=$(mktemp -d "$CACHE/network-building.XXXX")
  cp "$here"/{package.json,package-lock.json,.npmrc} "$building"
  # better-sqlite3 is compiled; with Node's headers at hand it is not sent to fetch them.
  prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
  [ ! -e "$prefix/include/node/node.h" ] || export npm_config_nodedir=$prefix
  step network-packages "Installing the reference PDS, PLC directory and consumer, once (usually 2 minutes)" \
    npm ci --prefix "$building" --no-audit --no-fund >&2
  mv --no-target-directory "$building" "$packages"
fi
[ $# -gt 0 ] || exit 0

program=$1
shift
NODE_PATH=$packages/node_modules exec node "$here/$program.js" "$@"
