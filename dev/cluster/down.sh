#!/usr/bin/env bash
# Ends this checkout's cluster and removes what it made, except its logs; also what a crash or a reboot left of one.
# Needs root. Safe to call at any time.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

end_processes() {
  local pid
  pid=$(cat "$MACHINE/pid" 2>/dev/null) || return 0
  # Killing the parent of the PID namespace's first process kills them both (--kill-child), and with it the rest.
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != unshare ] || kill -KILL "$pid"
  wait_for 30 "the end of the cluster's processes" flock --nonblock "$OWNER" true
}

# Pods of a killed node leave empty cgroups behind, in every hierarchy of cgroup v1 or in the one of v2.
remove_cgroups() {
  local cgroup
  for cgroup in /sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods; do
    [ ! -d "$cgroup" ] || find "$cgroup" -depth -type d -exec rmdir {} +
  done
}

remove_network() {
  ! mountpoint --quiet "$NETNS" || umount "$NETNS"
}

remove_files() {
  [ -e "$MACHINE" ] || return 0
  rm -rf "$LOGS/cluster"
  mkdir -p "$LOGS"
  mv "$MACHINE_LOGS" "$LOGS/cluster"
  rm -rf --one-file-system "$MACHINE" "$KUBECONFIG"
}

[ "$(id -u)" = 0 ] || die "dev/cluster/down.sh needs root: \`make down\` calls it by sudo"
if [ -e "$OWNER" ]; then
  if [ "$(cat "$OWNER")" = "$ROOT" ]; then
    end_processes
  elif is_running; then
    exit 0 # another checkout's
  fi
  remove_cgroups
  remove_network
  rm -r "$RUN"
fi
remove_files
