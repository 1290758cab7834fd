#!/usr/bin/env bash
# run.sh COMMAND…: runs the command beside an API server of its own, and ends that with it: etcd and kube-apiserver alone, on
# free ports of the loopback. Nothing is scheduled and nobody collects garbage. It needs no root, and any number fits a
# machine. The command finds in its environment
#   APISERVER_KUBECONFIG  an administrator's
#   APISERVER_PID  to pause the API server, by SIGSTOP and SIGCONT
# and the chart installed, release and namespace "relay-operator": the definition of Relays, and the rules of access.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ROOT/dev/cluster/pki.sh"

free_port() { # asked of the kernel
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

make_certificates() (
  set -e
  umask 077
  cd "$HOME_DIR"
  make_authority
  make_key service-account.key
  openssl pkey -in service-account.key -pubout -out service-account.pub
  make_certificate apiserver /CN=kube-apiserver IP:127.0.0.1
  API_PORT=$API_SERVER_PORT make_identity admin /O=system:masters/CN=admin
)

end() {
  [ -z "${APISERVER_PID:-}" ] || kill -CONT "$APISERVER_PID" 2>/dev/null || true
  [ -z "${STARTED[*]:-}" ] || kill -KILL "${STARTED[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$HOME_DIR"
}

(($#)) || die "usage: dev/apiserver/run.sh COMMAND…"
"$ROOT/dev/tools/build.sh" hyperkube helm
programs=$(dirname "$(readlink -f "$STATE/bin/hyperkube")")
mkdir -p "$LOGS"
HOME_DIR=$(mktemp -d) STARTED=()
trap end EXIT
API_SERVER_PORT=$(free_port) etcd_port=$(free_port) peer_port=$(free_port)
make_certificates 2>"$LOGS/apiserver-pki.log"

# No fsync: the data lives as long as the command does.
"$programs/etcd" --data-dir "$HOME_DIR/etcd" --unsafe-no-fsync --log-level error \
  --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
  --listen-peer-urls "http://127.0.0.1:$peer_port" >"$LOGS/apiserver-etcd.log" 2>&1 &
STARTED+=($!)
"$programs/kube-apiserver" --etcd-servers="http://127.0.0.1:$etcd_port" --secure-port="$API_SERVER_PORT" \
  --bind-address=127.0.0.1 --advertise-address=192.0.2.1 --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=RBAC \
  --disable-admission-plugins=ServiceAccount --client-ca-file="$HOME_DIR/ca.crt" \
  --tls-cert-file="$HOME_DIR/apiserver.crt" --tls-private-key-file="$HOME_DIR/apiserver.key" \
  --service-account-issuer=https://kubernetes.default.svc --endpoint-reconciler-type=none \
  --service-account-key-file="$HOME_DIR/service-account.pub" \
  --service-account-signing-key-file="$HOME_DIR/service-account.key" >"$LOGS/apiserver.log" 2>&1 &
APISERVER_PID=$!
STARTED+=("$APISERVER_PID")
# KUBECONFIG is what scripts below set to the cluster's.
export APISERVER_PID APISERVER_KUBECONFIG=$HOME_DIR/admin.kubeconfig KUBECONFIG=$HOME_DIR/admin.kubeconfig
wait_for 180 "the API server ($LOGS/apiserver.log)" "$STATE/bin/kubectl" get --raw /readyz

# Its Deployment stays an object.
"$STATE/bin/helm" install relay-operator "$ROOT/charts/relay-operator" --namespace relay-operator --create-namespace \
  --set relayImage=relay.test/relay:1 >"$LOGS/apiserver-chart.log"
"$STATE/bin/kubectl" wait --for=condition=Established crd/relays.relay.waow.tech --timeout=60s >/dev/null
"$@"
