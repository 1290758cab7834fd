#!/usr/bin/env bash
# fuzz.sh [TARGET…]: runs the fuzz targets, all by default, on the committed corpus and what they breed from it. RUNS is
# the number of inputs of each; without it there are so few that all take a minute, always the same ones.
# fuzz.sh --grow: makes the corpus anew, as small as it can be, from the simulated network's seeds and all that was found.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

FOUND=$STATE/fuzz         # inputs that were found to do something new, by target
FAILED=$STATE/fuzz-failed # inputs that a target panicked on
CORPUS=$ROOT/fuzz/corpus
FILE_BYTES_MAX=8192 # as in fuzz/tests/corpus.rs
INPUT_SECONDS_MAX=60

targets() {
  local file
  for file in "$ROOT"/fuzz/fuzz_targets/*.rs; do basename "$file" .rs; done
}

# Inputs in a short run: targets that build repositories, or ask a server, are slower.
runs() {
  case $1 in
    admin | cursor) echo 20000 ;;
    inversion | inversion_indigo) echo 50000 ;;
    cbor | check_commit) echo 100000 ;; # their inputs are long
    *) echo 500000 ;;
  esac
}

build() {
  local bins
  mapfile -t bins < <(targets | sed 's/^/--bin=fuzz_/')
  # The compiler's wrapper concerns our own crates alone: their dependencies are those of every other build.
  RUSTC_WORKSPACE_WRAPPER=$ROOT/fuzz/rustc.sh step fuzz-build "Building the fuzz targets (the first time usually 2 minutes)" \
    "$ROOT/dev/cargo.sh" build --release --locked --workspace --features relay-fuzz/libfuzzer "${bins[@]}"
}

fuzz() { # fuzz TARGET RUNS
  mkdir -p "$FOUND/$1" "$FAILED"
  step "fuzz-$1" "Fuzzing $1 with $2 inputs" nice -n 10 "$CARGO_TARGET_DIR/release/fuzz_$1" \
    -runs="$2" -seed=1 -max_len="$FILE_BYTES_MAX" -timeout="$INPUT_SECONDS_MAX" \
    -artifact_prefix="$FAILED/$1-" "$FOUND/$1" "$CORPUS/$1"
  # The last line of libFuzzer: how many edges of the program were reached, and how many inputs that took.
  sed -n 's/^#.*DONE *cov: \([0-9]*\) .*corp: \([0-9]*\).*/  \1 edges by \2 inputs/p' "$LOGS/fuzz-$1.log"
}

grow() {
  local target new
  rm -rf "$STATE/fuzz-seeds"
  FUZZ_SEEDS=$STATE/fuzz-seeds step fuzz-seeds "Making seeds" \
    "$ROOT/dev/cargo.sh" test --release --locked --workspace --test corpus seeds
  for target in "$@"; do
    new=$STATE/fuzz-new/$target
    rm -rf "$new"
    mkdir -p "$new" "$CORPUS/$target" "$FOUND/$target"
    # Edges alone, not how often each was passed: that would be several times as many files.
    step "fuzz-grow-$target" "Growing the corpus of $target" "$CARGO_TARGET_DIR/release/fuzz_$target" \
      -merge=1 -set_cover_merge=1 -use_counters=0 -max_len="$FILE_BYTES_MAX" \
      "$new" "$STATE/fuzz-seeds/$target" "$FOUND/$target" "$CORPUS/$target"
    rm -rf "${CORPUS:?}/$target"
    mv "$new" "$CORPUS/$target"
    say "  $(find "$CORPUS/$target" -type f | wc -l) files"
  done
}

main() {
  local target chosen
  mapfile -t chosen < <(targets)
  build
  if [ "${1:-}" = --grow ]; then
    grow "${chosen[@]}"
    return
  fi
  ((!$#)) || chosen=("$@")
  for target in "${chosen[@]}"; do
    [ -e "$ROOT/fuzz/fuzz_targets/$target.rs" ] || die "there is no fuzz target $target; there are: $(targets | xargs)"
  done
  for target in "${chosen[@]}"; do fuzz "$target" "${RUNS:-$(runs "$target")}"; done
  say "${#chosen[@]} passed, 0 failed"
}

main "$@"
exit # bash reads a script as it runs, and this file may be edited meanwhile
