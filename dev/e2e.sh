#!/usr/bin/env bash
# e2e.sh [SUITE…]: runs the end-to-end suites, e2e/tests/SUITE.rs, on the real cluster. Starts the cluster when it is not
# up, and ends it then. docs/how-to/development.md lists what a suite finds in its environment.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/dev/cluster/common.sh"

suites() {
  local file
  for file in "$ROOT"/e2e/tests/*.rs; do basename "$file" .rs; done
}

environment() {
  echo KUBECONFIG="$KUBECONFIG"
  echo E2E_NETNS="$NETNS"
  echo E2E_NODE_IP="$NODE_IP"
  echo E2E_RELAY_URL="http://$NODE_IP:$FIREHOSE_NODE_PORT"
  echo E2E_PLC_URL="http://$NODE_IP:$PLC_PORT"
  echo E2E_PDS_URLS="${PDS_PORTS[*]/#/http://$NODE_IP:}"
  echo E2E_TAP="$STATE/bin/tap"
  echo E2E_NETWORK="$ROOT/dev/network/run.sh"
}

# Of the whole workspace: a selection of packages would compile their dependencies with other features, anew.
build=("$ROOT/dev/cargo.sh" test --release --locked --workspace --no-run)

program_of() { # program_of SUITE: the path of its built program
  "${build[@]}" --test "$1" --quiet --message-format=json |
    jq --raw-output 'select(.executable and (.package_id | contains("/e2e#"))).executable'
}

run_suite() {
  local program environment
  program=$(program_of "$1")
  mapfile -t environment < <(environment)
  # In the cluster's network, where pods, Services, PDSes and PLC directory are at their own addresses.
  step "e2e-$1" "End-to-end suite $1" \
    as_root env --chdir="$ROOT/e2e" "${environment[@]}" nsenter --net="$NETNS" "$program" --nocapture --test-threads=1
  tally "e2e-$1"
}

main() {
  local suite chosen=("$@")
  (($#)) || mapfile -t chosen < <(suites)
  for suite in "${chosen[@]}"; do
    [ -e "$ROOT/e2e/tests/$suite.rs" ] || die "there is no suite $suite; there are: $(suites | xargs)"
  done

  is_running || trap '"$ROOT/dev/down.sh"' EXIT
  "$ROOT/dev/up.sh"
  step e2e-build "Building the end-to-end suites (the first time usually 2 minutes)" "${build[@]}"
  for suite in "${chosen[@]}"; do run_suite "$suite"; done
}

main "$@"
exit # bash reads a script as it runs, and this file may be edited meanwhile
