#!/bin/bash
# The first process of the kernel that run.sh boots: what a relay does in a memory cgroup of version 2. PROGRAM is the
# program. What matters is said behind "cgroup2: ".
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
GROUP=/sys/fs/cgroup/relay
ADMIN=http://127.0.0.1:3001 FAULTS=http://127.0.0.1:3999
MIB=$((1 << 20))
failures=0

mount_all() {
  mount -t proc proc /proc
  mount -t sysfs sysfs /sys
  mount -t tmpfs tmpfs /run
  mount -t tmpfs tmpfs /tmp
  mountpoint -q /dev || mount -t devtmpfs dev /dev
  ln -sf /proc/self/fd /dev/fd
  mount -t cgroup2 none /sys/fs/cgroup
  echo +memory >/sys/fs/cgroup/cgroup.subtree_control
  mkdir $GROUP
  ip link set lo up
}

say() { echo "cgroup2: $*"; }

check() { # check WHAT COMMAND…
  local what=$1
  shift
  if "$@"; then say "ok      $what"; else
    say "FAILED  $what"
    failures=$((failures + 1))
  fi
}

# until_so SECONDS COMMAND…
until_so() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.5
  done
}

memory() { # memory FIELD: what the relay's status document says of its memory
  curl --silent --max-time 5 --header 'Authorization: Bearer token' $ADMIN/admin/status | jq --raw-output ".memory.$1"
}

is() { # is FIELD VALUE
  [ "$(memory "$1" 2>/dev/null)" = "$2" ]
}

fault() { curl --silent --max-time 60 --request POST "$FAULTS/$1"; }

# start COMMAND…: a relay in the group, behind a command that shows it the group's files.
start() {
  # The variable is the shell's inside.
  # shellcheck disable=SC2016
  sh -c 'echo $$ >'$GROUP'/cgroup.procs; exec "$@"' sh "$@" "$PROGRAM" serve --data-dir /tmp/data \
    --listen 127.0.0.1:3000 --admin-listen 127.0.0.1:3001 --admin-token token --plc-url http://127.0.0.1:1 \
    --allow-insecure-hosts --termination-log /tmp/termination >>/tmp/relay.log 2>&1 &
  relay=$!
  check "the relay answers" until_so 120 curl --silent --fail --output /dev/null $ADMIN/livez
}

# As in a container: the group is the root of all that can be seen.
# shellcheck disable=SC2016
AS_IN_A_CONTAINER=(unshare --cgroup --mount sh -c 'umount /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"' sh)

ended_with() { # ended_with CODE
  local code=0
  until_so 300 bash -c "! kill -0 $relay 2>/dev/null" || return 1
  wait $relay || code=$?
  say "        it ended with code $code"
  [ $code = "$1" ]
}

main() {
  echo $((256 * MIB)) >$GROUP/memory.max
  start "${AS_IN_A_CONTAINER[@]}"
  check "the limit is that of memory.max" is limitSource cgroup2
  check "the limit is 256 MiB" is limitBytes $((256 * MIB))
  say "        the plan: $(memory 'owners | map("\(.owner) \(.shareBytes / 1048576 | floor)") | join(", ")')"
  # The group counts what the relay's processes have touched; the relay's view is the kernel's, some seconds old.
  local seen current
  seen=$(memory workingSetBytes) current=$(cat $GROUP/memory.current)
  say "        working set $((seen / MIB)) MiB, memory.current $((current / MIB)) MiB"
  check "the working set is a part of memory.current" test "$seen" -gt 0 -a "$seen" -le $((current + 8 * MIB))
  if [ -e $GROUP/memory.pressure ]; then
    say "        memory.pressure: $(head -n 1 $GROUP/memory.pressure)"
  else
    say "        this kernel has no memory.pressure: that is left to fixtures"
  fi

  echo $((320 * MIB)) >$GROUP/memory.max
  check "a limit that grows is noticed" until_so 30 is limitBytes $((320 * MIB))
  echo $((256 * MIB)) >$GROUP/memory.max
  check "and one that shrinks" until_so 30 is limitBytes $((256 * MIB))

  fault "hog?bytes=$((256 * MIB * 75 / 100 - $(memory workingSetBytes)))"
  fault "leak?bytes_per_second=$((MIB / 2))&up_to=$((1024 * MIB))"
  check "under pressure caches shrink" until_so 180 is_above_none
  check "a leak ends in a planned restart" ended_with 75
  say "        $(cat /tmp/termination)"
  check "the termination message says why" grep -Eq '"reason": ?"Memory(HardMark|Trend)"' /tmp/termination
  check "nothing was killed" grep -q '^oom_kill 0$' $GROUP/memory.events

  # As by systemd: the group is one of many.
  start env
  check "the limit is found by the path of the group" is limitSource cgroup2
  check "it is 256 MiB again" is limitBytes $((256 * MIB))
  fault "hog?bytes=$((1024 * MIB))"
  check "a hog is killed" ended_with 137
  check "the kernel counts the kill" grep -q '^oom_kill 1$' $GROUP/memory.events
}

is_above_none() {
  local step
  step=$(memory step 2>/dev/null)
  [ -n "$step" ] && [ "$step" != none ] && [ "$step" != null ]
}

mount_all
say "kernel $(uname -r), controllers $(cat /sys/fs/cgroup/cgroup.controllers)"
main
if ((failures)); then
  say "$failures failed; the end of the relay's log:"
  tail -n 40 /tmp/relay.log
else
  say "passed"
fi
echo o >/proc/sysrq-trigger
sleep 5
