#!/usr/bin/env bash
# Installs, by apt and only where absent, what the build, the tests and the development cluster need of Debian 12.
# Rust and Go are the two things it asks for instead.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A program, or a file (a pattern) where a package brings none, and the package that brings it.
NEEDS=(
  "gcc gcc"
  "g++ g++"
  "make make"
  "strip binutils"
  "/usr/lib/llvm-*/lib/libclang.so* libclang-dev" # bindgen reads RocksDB's headers with it; not libclang-cpp.so
  "git git"
  "curl curl"
  "jq jq"
  "openssl openssl"
  "/etc/ssl/certs/ca-certificates.crt ca-certificates"
  "node nodejs"
  "npm npm"
  "python3 python3"
  "/usr/lib/python3*/ensurepip python3-venv"
  "containerd containerd"
  "runc runc"
  "/usr/lib/cni/bridge containernetworking-plugins"
  "ip iproute2"
  "nft nftables"      # kube-proxy's
  "iptables iptables" # kubelet's
  "socat socat"
  "shellcheck shellcheck"
  "chromium chromium"
  "chromedriver chromium-driver" # drives the page for people
  "/usr/lib/postgresql/*/bin/initdb postgresql" # the tests start one of their own
)

missing() {
  local need probe package
  for need in "${NEEDS[@]}"; do
    read -r probe package <<<"$need"
    command -v "$probe" >/dev/null || compgen -G "$probe" >/dev/null || echo "$package"
  done
}

require() { # require PROGRAM WHERE_FROM
  command -v "$1" >/dev/null || die "$1 is not on the PATH: install it ($2) and start again"
}

require cargo "https://rustup.rs"
require go "https://go.dev/dl"
mapfile -t packages < <(missing)
if ((${#packages[@]})); then
  command -v apt-get >/dev/null || die "no apt-get here to install: ${packages[*]}"
  # shellcheck disable=SC2016 # the inner shell expands
  step packages "Installing ${packages[*]}" as_root env DEBIAN_FRONTEND=noninteractive sh -euc \
    'apt-get update && apt-get install --yes --no-install-recommends "$@"' apt "${packages[@]}"
fi
