# shellcheck shell=bash
# What the scripts in dev/ share: saying what happens, measuring it, and failing in one clear sentence.
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

say() { printf '%s\n' "$*"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# elapsed SECONDS: "8 s", "4 min 32 s"
elapsed() {
  if (($1 < 60)); then printf '%d s' "$1"; else printf '%d min %d s' $(($1 / 60)) $(($1 % 60)); fi
}

# step LOG WHAT COMMAND…: says what happens, runs the command with its output in .dev/log/LOG.log (VERBOSE=1 shows it
# too), and says how long it took. A failure ends the script with what that log says of it.
# The command is a program, not a function of several steps: bash ignores `set -e` where it asks for the status.
step() {
  local log=$LOGS/$1.log what=$2 start=$SECONDS status=0
  shift 2
  mkdir -p "$LOGS"
  if [ -n "${VERBOSE:-}" ]; then
    say "$what …"
    "$@" </dev/null 2>&1 | tee "$log" || status=$?
    what="  took"
  else
    printf '%s … ' "$what"
    "$@" </dev/null >"$log" 2>&1 || status=$?
    what=""
  fi
  if ((status)); then
    say "failed after $(elapsed $((SECONDS - start))). The first errors and the end of $log:"
    # Panics of tests and errors of compilers each say where in their second line.
    {
      grep --max-count=5 --after-context=1 --extended-regexp "^error|^thread .* panicked at" "$log" || true
      tail -n 30 "$log"
    } | cut -c1-500 | sed 's/^/  /'
    exit "$status"
  fi
  say "$what$(elapsed $((SECONDS - start)))"
}

# tally LOG: how many tests cargo counted in .dev/log/LOG.log
tally() {
  awk '/^test result:/ {passed += $4; failed += $6} END {printf "%d passed, %d failed\n", passed, failed}' "$LOGS/$1.log"
}

# wait_for SECONDS WHAT COMMAND…: runs the command until it succeeds; gives up with a sentence.
wait_for() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || die "$what did not come in time"
    sleep 0.2
  done
}

# as_root COMMAND…: directly, or by sudo with the variables that env.sh starts from; HOME becomes root's, so that root
# leaves no files in yours.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    sudo env "PATH=$PATH" "XDG_CACHE_HOME=$(dirname "$CACHE")" \
      "API_PORT=$API_PORT" "FIREHOSE_PORT=$FIREHOSE_PORT" "ADMIN_PORT=$ADMIN_PORT" "$@"
  fi
}

# key TEXT FILE…: a short name for the text and the content of the files.
key() {
  local text=$1
  shift
  cat "$@" - <<<"$text" | sha256sum | cut -c1-12
}
