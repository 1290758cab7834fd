# shellcheck shell=bash disable=SC2034 # used by those who source it
# What the cluster's scripts share, beyond ../lib.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

NODE_NAME=relay-dev POD_NET=10.88.0.0/16 SERVICE_NET=10.96.0.0/16

# The cluster's files. In here, var/, run/ and tmp/ are the node's own /var, /run and /tmp (node.sh mounts them).
MACHINE=$STATE/cluster
MACHINE_LOGS=$MACHINE/var/log
PKI=$MACHINE/var/lib/kubernetes
# Names the checkout that the running cluster belongs to; every process of the cluster holds a lock on it.
OWNER=$RUN/owner

# in_netns COMMAND…: in the cluster's network. Not `ip netns exec`, whose fresh /sys lacks the cgroups.
in_netns() { nsenter --net="$NETNS" "$@"; }

# keep NAME COMMAND…: runs the command in the background, and again whenever it ends.
keep() {
  local name=$1
  shift
  while true; do
    "$@" || true
    printf '%s: ended, starting again\n' "$name"
    sleep 1
  done </dev/null >>"$MACHINE_LOGS/$name.log" 2>&1 &
}

# is_running: whether a cluster runs on this machine, of whatever checkout. What it inherits on file descriptor 9 is
# the cluster's lock.
is_running() { [ -e "$OWNER" ] && ! flock --nonblock "$OWNER" true 9>&-; }
