# shellcheck shell=bash disable=SC2034 # used by those who source it
# Paths, names and addresses of the development set-up. Every script in dev/ sources this file, by way of lib.sh.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Whatever is slow to build and depends only on versions: shared by all checkouts, rebuilt when absent.
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/atproto-relay-operator
# Whatever belongs to this checkout: kubeconfig, links to the tools, images, logs, the running cluster's files.
STATE=$ROOT/.dev
LOGS=$STATE/log
# One target folder per checkout, because cargo's fingerprints know files by path and time. The checkouts of continuous
# integration come and go: they share one, and with it the compiled dependencies.
CARGO_TARGET_DIR=$CACHE/target/$(sha256sum <<<"$ROOT" | cut -c1-12)
[ "${CI:-}" != true ] || CARGO_TARGET_DIR=$CACHE/target/ci
export CARGO_TARGET_DIR
export KUBECONFIG=$STATE/kubeconfig
export PATH=$STATE/bin:$PATH:/usr/sbin:/sbin

# One cluster at a time on a machine: its cgroups and ports are the machine's. This folder holds its lock and pins its
# network namespace, which has no way out. The node is the one address that everything real listens on: the
# PLC directory, the PDSes, and the NodePorts of the relay.
RUN=/run/atproto-relay-dev
NETNS=$RUN/net NODE_IP=10.99.0.1
PLC_PORT=2582 PDS_PORTS=(2583 2584)
FIREHOSE_NODE_PORT=30300 ADMIN_NODE_PORT=30301

# The user that our images run as: "nonroot", with the number that distroless images gave it.
IMAGE_USER=65532

# What leads into it, on this machine's loopback: the API server, the relay's firehose, the relay's admin.
export API_PORT=${API_PORT:-16443} FIREHOSE_PORT=${FIREHOSE_PORT:-3000} ADMIN_PORT=${ADMIN_PORT:-3001}
