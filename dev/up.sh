#!/usr/bin/env bash
# make up: from a fresh machine to a relay that serves the events of two PDSes, on a real cluster. Every step finds out
# whether it is done, so running it again changes nothing, and after an edit only what follows from it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

OPERATOR_NAMESPACE='relay-operator'
SAMPLE=$ROOT/config/samples/relay.yaml
RELAY_READY_SECONDS=180

build() {
  "$ROOT/dev/packages.sh"
  "$ROOT/dev/tools/build.sh"
  "$ROOT/dev/network/run.sh"
  step rocksdb "Finding RocksDB (to build it, once, takes 13 minutes)" "$ROOT/dev/rocksdb/build.sh"
  step build "Building relay and operator (the first time usually 10 minutes)" \
    "$ROOT/dev/cargo.sh" build --release --locked --workspace --bins
  # The operator's program is also kubectl's plugin, by this name.
  ln -sfn "$CARGO_TARGET_DIR/release/relay-operator" "$STATE/bin/kubectl-relay"
  step images "Making images" "$ROOT/dev/image/images.sh"
}

start_cluster() {
  step cluster "Starting the cluster, the PLC directory and two PDSes (usually 10 seconds)" \
    as_root "$ROOT/dev/cluster/up.sh"
  step import "Loading images into the cluster" as_root "$ROOT/dev/cluster/import.sh" pause relay relay-operator
}

install_operator() {
  local chart=$ROOT/charts/relay-operator operator relay files wanted
  operator=$(cat "$STATE/images/relay-operator.name")
  relay=$(cat "$STATE/images/relay.name")
  # An upgrade to the same thing would still be a new revision of the release.
  mapfile -t files < <(find "$chart" -type f | sort)
  wanted=$(key "$operator $relay" "${files[@]}")
  [ "$(helm status relay-operator --namespace $OPERATOR_NAMESPACE --output json 2>/dev/null |
    jq --raw-output '.info | "\(.status) \(.description)"')" = "deployed $wanted" ] && return
  step operator "Installing the operator (usually 5 seconds)" \
    helm upgrade --install relay-operator "$chart" --namespace $OPERATOR_NAMESPACE --create-namespace \
    --set image.repository="${operator%:*}" --set image.tag="${operator##*:}" --set relayImage="$relay" \
    --description "$wanted" --wait --timeout 2m
}

ready_condition() {
  kubectl get --filename "$SAMPLE" --output json | jq --raw-output '
    [.items[]?, .] | map(select(.kind == "Relay")) | first | .status.conditions // [] |
    map(select(.type == "Ready")) | first // {status: "Unknown", message: "the operator has not seen it yet"} |
    "\(.status) \(.reason // "") \(.message)"'
}

apply_relay() {
  local now last="" end=$((SECONDS + RELAY_READY_SECONDS))
  say "Applying $(realpath --relative-to "$ROOT" "$SAMPLE"), then waiting for the condition Ready (usually 10 seconds)"
  kubectl apply --server-side --filename "$SAMPLE" >"$LOGS/apply.log"
  kubectl apply --server-side --filename "$ROOT/dev/cluster/etc/relay-admin.yaml" >>"$LOGS/apply.log"
  while true; do
    now=$(ready_condition)
    [ "$now" = "$last" ] || say "  Ready: $now"
    [[ $now != True* ]] || break
    last=$now
    ((SECONDS < end)) || die "the relay is not ready after $(elapsed $RELAY_READY_SECONDS):" \
      "\`kubectl describe relay -A\` and \`kubectl logs -n $OPERATOR_NAMESPACE deployment/relay-operator\` say why"
    sleep 1
  done
  # The node's port follows a moment after the pod is ready.
  wait_for 30 "the relay on port $FIREHOSE_PORT" curl --fail --silent --max-time 2 "http://127.0.0.1:$FIREHOSE_PORT/_health"
}

seed() {
  step seed "Making an account and posts on each PDS" \
    as_root nsenter --net="$NETNS" "$ROOT/dev/network/run.sh" seed "${PDS_PORTS[@]/#/http://$NODE_IP:}"
}

say_what_next() {
  cat <<TEXT

A relay runs on a Kubernetes cluster on this machine ($(elapsed $SECONDS)). Look at it:

  firehose      ws://127.0.0.1:$FIREHOSE_PORT/xrpc/com.atproto.sync.subscribeRepos?cursor=0
  admin page    http://127.0.0.1:$ADMIN_PORT/admin  as "admin", with the password that this prints:
                kubectl get secret -n relays demo-admin -o go-template='{{.data.token | base64decode}}'

  export KUBECONFIG=$KUBECONFIG PATH=$STATE/bin:\$PATH
  kubectl get relays -A
  kubectl relay status demo -n relays
  kubectl relay hosts demo -n relays
  kubectl relay logs demo -n relays --follow

\`make down\` ends all of it.
TEXT
}

main() {
  # One at a time in a checkout. The cluster is started without this file descriptor (cluster/up.sh): the lock ends with us.
  exec 8<"$ROOT"
  flock --nonblock 8 || { say "Waiting for another \`make up\` of this checkout to end" && flock 8; }
  build
  start_cluster
  install_operator
  apply_relay
  seed
  say_what_next
}

main
exit # bash reads a script as it runs, and this file may be edited meanwhile
