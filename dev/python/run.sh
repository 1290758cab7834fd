#!/usr/bin/env bash
# run.sh PROGRAM ARGUMENTS…: runs consumer or repos with the packages of the Python SDK, which the first call installs into
# the cache. Without arguments it only installs them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$ROOT/dev/python

packages=$CACHE/python-$(key "$(python3 --version) $(uname -m)" "$here/requirements.txt")
if [ ! -e "$packages" ]; then
  mkdir -p "$CACHE"
  building=$(mktemp -d "$CACHE/python-building.XXXX")
  python3 -m venv "$building" || die "python3 makes no virtual environments: install python3-venv"
  step python-packages "Installing the Python SDK, once (usually 10 seconds)" \
    "$building/bin/python" -m pip install --disable-pip-version-check --require-hashes --only-binary :all: \
    --requirement "$here/requirements.txt" >&2
  mv --no-target-directory "$building" "$packages"
fi
[ $# -gt 0 ] || exit 0

program=$1
shift
exec "$packages/bin/python" "$here/$program.py" "$@"
