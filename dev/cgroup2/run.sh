#!/usr/bin/env bash
# make cgroup2: the relay's memory under cgroup version 2. Many machines, and the development cluster's, still have
# version 1, and one kernel cannot have both for memory. So this boots Debian's kernel as a user process (user-mode-linux)
# on the files of this machine, read-only, and runs the checks of init.sh there with the build of the relay that leaks on
# demand. Needs no root but to install that kernel.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

MEMORY=1500M
SECONDS_MAX=900

# Only this needs it, so packages.sh does not install it.
if ! command -v linux.uml >/dev/null; then
  # shellcheck disable=SC2016 # the inner shell expands
  step packages "Installing user-mode-linux" as_root env DEBIAN_FRONTEND=noninteractive sh -euc \
    'apt-get update && apt-get install --yes --no-install-recommends user-mode-linux'
fi

mkdir -p "$LOGS"
log=$LOGS/cgroup2.log
say "Booting a kernel with cgroup version 2 (usually 3 minutes); all it says is in $log"
# Words of its command line that are none of the kernel's become the environment of its first process.
timeout "$SECONDS_MAX" linux.uml mem=$MEMORY rootfstype=hostfs rootflags=/ ro init="$ROOT/dev/cgroup2/init.sh" \
  con=null con0=fd:0,fd:1 quiet PROGRAM="$CARGO_TARGET_DIR/release/leaking-relay" </dev/null 2>&1 |
  sed --unbuffered 's/\r$//' | tee "$log" | grep --line-buffered '^cgroup2: ' || true
grep -q '^cgroup2: passed' "$log" || die "it did not pass:" "$(tail -n 30 "$log")"
