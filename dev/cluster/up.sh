#!/usr/bin/env bash
# Starts the cluster: one node, ready for pods, with PLC directory and PDSes beside it. Needs root.
# Does nothing when this checkout's cluster is up.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$ROOT/dev/cluster/pki.sh"

refuse_a_second_cluster() {
  local cgroup
  is_running && die "the cluster of $(cat "$OWNER") runs on this machine, and there can be one: \`make down\` there"
  for cgroup in /sys/fs/cgroup/kubepods /sys/fs/cgroup/memory/kubepods; do
    [ ! -e "$cgroup" ] || die "$cgroup exists: another Kubernetes node runs on this machine, or one left it behind"
  done
}

refuse_a_taken_port() {
  local port listeners
  for port in "$API_PORT" "$FIREHOSE_PORT" "$ADMIN_PORT"; do
    listeners=$(ss --no-header --listening --tcp --numeric "sport = :$port" "( src 127.0.0.1 or src 0.0.0.0 or src [::] )")
    [ -z "$listeners" ] || die "port $port is taken: stop what listens there (\`ss -ltnp\` names it), or choose another" \
      "port with API_PORT, FIREHOSE_PORT or ADMIN_PORT in the environment"
  done
}

# One bridge is the node's only interface. There is no default route, so that whatever looks for the internet, DNS above
# all, fails at once; services need one to reach the rules of kube-proxy.
make_network() {
  touch "$NETNS"
  unshare --net="$NETNS" true
  in_netns ip link set lo up
  in_netns ip link add node0 type bridge
  in_netns ip address add "$NODE_IP/24" dev node0
  in_netns ip link set node0 up
  in_netns ip route add "$SERVICE_NET" dev node0
  in_netns sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
}

make_files() {
  local etc=$ROOT/dev/cluster/etc lib=$MACHINE/var/lib
  mkdir -p "$MACHINE_LOGS" "$MACHINE"/{run/netns,network} "$lib/cni-conf"
  install -d -m 1777 "$MACHINE/tmp"
  ln -s /run "$MACHINE/var/run"
  cp "$etc"/{containerd.toml,kubelet.yaml,kube-proxy.yaml} "$lib"
  cp "$etc/cni.conflist" "$lib/cni-conf/"
  touch "$lib/resolv.conf"
  make_pki "$PKI" 2>"$MACHINE_LOGS/pki.log"
  install -m 600 -o "${SUDO_UID:-0}" -g "${SUDO_GID:-0}" "$PKI/admin.kubeconfig" "$KUBECONFIG"
}

start() {
  "$ROOT/dev/cluster/down.sh" # for what a crash has left behind
  refuse_a_second_cluster
  refuse_a_taken_port
  mkdir "$RUN" || die "another checkout is starting its cluster on this machine"
  echo "$ROOT" >"$OWNER"
  modprobe --all overlay br_netfilter nf_tables 2>/dev/null || true # or they are built in
  make_network
  make_files
  exec 9<"$OWNER"
  flock --nonblock 9
  # In a session of its own, with the lock on 9 and without that of dev/up.sh on 8.
  setsid unshare --mount --pid --fork --kill-child --mount-proc "$ROOT/dev/cluster/machine.sh" \
    </dev/null >"$MACHINE_LOGS/machine.log" 2>&1 8<&- &
  exec 9<&-
  echo $! >"$MACHINE/pid"
}

wait_until_ready() {
  wait_for 120 "the API server ($MACHINE_LOGS/kube-apiserver.log)" kubectl get --raw /readyz
  kubectl apply --server-side --filename "$ROOT/dev/cluster/etc/base.yaml" >/dev/null
  wait_for 60 "the node ($MACHINE_LOGS/kubelet.log)" kubectl get node "$NODE_NAME"
  kubectl wait --for=condition=Ready "node/$NODE_NAME" --timeout=120s >/dev/null
  wait_for 60 "the default service account ($MACHINE_LOGS/kube-controller-manager.log)" \
    kubectl get serviceaccount default
  wait_for 90 "the network of PLC directory and PDSes ($MACHINE_LOGS/network.log)" \
    grep -q '^ready' "$MACHINE_LOGS/network.log"
}

[ "$(id -u)" = 0 ] || die "dev/cluster/up.sh needs root: \`make up\` calls it by sudo"
if ! is_running || [ "$(cat "$OWNER")" != "$ROOT" ]; then
  start
fi
wait_until_ready
