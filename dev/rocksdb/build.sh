#!/usr/bin/env bash
# Prints the folder of a static librocksdb.a, building it first when the cache has none for this version and machine
# kind. The relay is then linked with ROCKSDB_LIB_DIR and ROCKSDB_STATIC, and no checkout compiles RocksDB again.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/atproto-relay-operator
key=$(cat "$here/Cargo.toml" "$here/Cargo.lock" <(rustc -vV | grep host) | sha256sum | cut -c1-12)
lib=$cache/rocksdb-$key

if [ ! -e "$lib/librocksdb.a" ]; then
  echo "RocksDB: building once into $lib (about 13 minutes on two cores)" >&2
  flags=""
  # RocksDB picks its hardware CRC at compile time; every x86-64 server since 2011 has it.
  [ "$(uname -m)" = x86_64 ] && flags="-Ctarget-feature=+sse4.2,+pclmulqdq"
  target=$cache/build/rocksdb-$key
  mkdir -p "$target" "$lib"
  RUSTFLAGS="$flags" CARGO_TARGET_DIR="$target" cargo build --locked --release --manifest-path "$here/Cargo.toml" >&2
  built=$(find "$target/release/build" -name librocksdb.a -print -quit)
  [ -n "$built" ] || { echo "RocksDB: the build made no librocksdb.a under $target" >&2; exit 1; }
  cp "$built" "$lib/librocksdb.a.part"
  mv "$lib/librocksdb.a.part" "$lib/librocksdb.a"
  rm -rf "$target"
fi
echo "$lib"
