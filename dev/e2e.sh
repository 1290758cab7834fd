#!/usr/bin/env bash
# e2e.sh [SUITE…]: runs the end-to-end suites, e2e/tests/SUITE.rs. Starts the real cluster for those that need it when it is
# not up, and ends it then. docs/how-to/development.md lists what a suite finds in its environment.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/dev/cluster/common.sh"

# Suites that need no cluster: they start the relay, a PLC directory and PDSes by themselves, as processes.
WITHOUT_CLUSTER=" collections monitoring protocol "

# Suites whose tests do not touch what the others do, and wait most of their time.
AT_ONCE=" memory "

needs_cluster() { # needs_cluster SUITE
  [[ $WITHOUT_CLUSTER != *" $1 "* ]]
}

needs_any_cluster() { # needs_any_cluster SUITE…
  local suite
  for suite in "$@"; do ! needs_cluster "$suite" || return 0; done
  return 1
}

suites() {
  local file
  for file in "$ROOT"/e2e/tests/*.rs; do basename "$file" .rs; done
}

programs() {
  echo E2E_RELAY="$CARGO_TARGET_DIR/release/relay"
  echo E2E_OPERATOR="$CARGO_TARGET_DIR/release/relay-operator"
  echo E2E_NETWORK="$ROOT/dev/network/run.sh"
  echo E2E_PYTHON="$ROOT/dev/python/run.sh"
  echo E2E_CROWD="$CARGO_TARGET_DIR/release/crowd"
  echo E2E_LENGTH_SECONDS="${LENGTH:-150}"
  echo E2E_TAP="$STATE/bin/tap"
  echo E2E_RAINBOW="$STATE/bin/rainbow"
  echo E2E_COLLECTIONDIR="$STATE/bin/collectiondir"
  echo E2E_PROMTOOL="$STATE/bin/promtool"
  echo E2E_PROMETHEUS="$STATE/bin/prometheus"
  echo E2E_DASHBOARD="$STATE/bin/dashboard"
  echo E2E_PROMETHEUS_OPERATOR="$STATE/bin/prometheus-operator"
  echo E2E_PROMETHEUS_OPERATOR_CRDS="$(readlink -f "$STATE/bin/prometheus-operator-crds")"
}

cluster() {
  echo KUBECONFIG="$KUBECONFIG"
  echo E2E_NETNS="$NETNS"
  echo E2E_NODE_IP="$NODE_IP"
  echo E2E_RELAY_URL="http://$NODE_IP:$FIREHOSE_NODE_PORT"
  echo E2E_PLC_URL="http://$NODE_IP:$PLC_PORT"
  echo E2E_PDS_URLS="${PDS_PORTS[*]/#/http://$NODE_IP:}"
  echo E2E_IMAGES="$STATE/images"
  echo E2E_LEAKING_IMAGE="$(cat "$STATE/images/leaking-relay.name" 2>/dev/null)"
  echo E2E_INDIGO_IMAGE="$(cat "$STATE/images/indigo-relay.name" 2>/dev/null)"
  echo E2E_COLLECTIONDIR_IMAGE="$(cat "$STATE/images/collectiondir.name" 2>/dev/null)"
}

# Of the whole workspace: a selection of packages would compile their dependencies with other features, anew.
build=("$ROOT/dev/cargo.sh" test --release --locked --workspace --no-run)

program_of() { # program_of SUITE: the path of its built program
  "${build[@]}" --test "$1" --quiet --message-format=json |
    jq --raw-output 'select(.executable and (.package_id | contains("/e2e#"))).executable'
}

run_suite() {
  local environment run threads=1
  [[ $AT_ONCE != *" $1 "* ]] || threads=8
  run=("$(program_of "$1")")
  mapfile -t environment < <(programs)
  if needs_cluster "$1"; then
    mapfile -t -O "${#environment[@]}" environment < <(cluster)
    # In the cluster's network, where pods, Services, PDSes and PLC directory are at their own addresses.
    run=(nsenter --net="$NETNS" "${run[@]}")
  fi
  run=(env --chdir="$ROOT/e2e" "${environment[@]}" "${run[@]}" --nocapture --test-threads="$threads")
  ! needs_cluster "$1" || run=(as_root "${run[@]}")
  step "e2e-$1" "End-to-end suite $1" "${run[@]}"
  tally "e2e-$1"
}

# load_image NAME BINARY ARGUMENT…: makes an image for the suites alone, which no other target makes, and loads it into the
# cluster.
load_image() {
  step "e2e-image-$1" "Making the image $1" "$ROOT/dev/image/build.sh" "$@"
  step "e2e-import-$1" "Loading it into the cluster" as_root "$ROOT/dev/cluster/import.sh" "$1"
}

# load_images SUITE: a relay that leaks on demand, or the relay of indigo and its directory.
load_images() {
  case $1 in
    memory) load_image leaking-relay "$CARGO_TARGET_DIR/release/leaking-relay" ;;
    operator)
      "$ROOT/dev/tools/build.sh" indigo indigo-relay
      load_image indigo-relay "$STATE/bin/indigo-relay" serve
      load_image collectiondir "$STATE/bin/collectiondir"
      ;;
  esac
}

main() {
  local suite chosen=("$@")
  ulimit -n "$(ulimit -Hn)" # some tests are thousands of consumers
  (($#)) || mapfile -t chosen < <(suites)
  for suite in "${chosen[@]}"; do
    [ -e "$ROOT/e2e/tests/$suite.rs" ] || die "there is no suite $suite; there are: $(suites | xargs)"
  done

  if needs_any_cluster "${chosen[@]}"; then
    is_running || trap '"$ROOT/dev/down.sh"' EXIT
    "$ROOT/dev/up.sh"
    for suite in "${chosen[@]}"; do load_images "$suite"; done
  fi
  "$ROOT/dev/tools/build.sh" helm indigo prometheus prometheus-operator dashboard
  "$ROOT/dev/network/run.sh"
  "$ROOT/dev/python/run.sh"
  step e2e-build "Building the end-to-end suites (the first time usually 2 minutes)" "${build[@]}" "${chosen[@]/#/--test=}"
  for suite in "${chosen[@]}"; do run_suite "$suite"; done
}

main "$@"
exit # bash reads a script as it runs, and this file may be edited meanwhile
