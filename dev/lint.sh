#!/usr/bin/env bash
# Everything that can be said about the source without running it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CARGO_DENY_VERSION=0.20.2
DENY=$CACHE/tools/cargo-deny-$CARGO_DENY_VERSION

install_cargo_deny() {
  [ ! -e "$DENY/bin/cargo-deny" ] || return 0
  step cargo-deny "Building cargo-deny, once (usually 5 minutes)" \
    cargo install --locked cargo-deny --version "$CARGO_DENY_VERSION" --root "$DENY" --target-dir "$DENY/target"
  rm -rf "$DENY/target"
}

check() { # check NAME WHAT COMMAND…
  step "lint-$1" "Checking $2" "${@:3}"
}

install_cargo_deny
mapfile -t scripts < <(git -C "$ROOT" ls-files --cached --others --exclude-standard '*.sh' .ci/run)
check scripts "scripts" shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]/#/$ROOT/}"
check format "the format" "$ROOT/dev/cargo.sh" fmt --all --check
check clippy "with clippy (the first time usually 10 minutes)" \
  "$ROOT/dev/cargo.sh" clippy --release --locked --workspace --all-targets -- --deny warnings
# Those of other systems too, which no build here has fetched: cargo-deny looks at all.
"$ROOT/dev/cargo.sh" fetch --locked --quiet
check dependencies "licences and sources of dependencies" \
  "$DENY/bin/cargo-deny" --manifest-path "$ROOT/Cargo.toml" --offline check bans licenses sources
