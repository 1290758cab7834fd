#!/usr/bin/env bash
# The first process of the cluster's PID namespace. Whatever `make up` leaves running descends from it, so that ending
# this one process ends all of it, whatever state it is in.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

forward() { # forward PORT TARGET: this machine's loopback to an address inside the network namespace
  keep "forward-$1" socat "TCP-LISTEN:$1,bind=127.0.0.1,fork,reuseaddr" \
    "EXEC:nsenter --net=$NETNS socat STDIO TCP\:${2/:/\\:}"
}

forward "$API_PORT" "127.0.0.1:$API_PORT"
forward "$FIREHOSE_PORT" "$NODE_IP:$FIREHOSE_NODE_PORT"
forward "$ADMIN_PORT" "$NODE_IP:$ADMIN_NODE_PORT"

# Not kept: a PLC directory that starts again has forgotten every account.
in_netns "$ROOT/dev/network/run.sh" network --host "$NODE_IP" --plc-port "$PLC_PORT" "${PDS_PORTS[@]/#/--pds-port=}" \
  --data "$MACHINE/network" --crawlers "http://$NODE_IP:$FIREHOSE_NODE_PORT" >"$MACHINE_LOGS/network.log" 2>&1 &

in_netns unshare --mount "$ROOT/dev/cluster/node.sh" >"$MACHINE_LOGS/node.log" 2>&1 &
wait
