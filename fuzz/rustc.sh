#!/usr/bin/env bash
# rustc.sh RUSTC ARGUMENTS…: the compiler for this workspace's own crates when they are fuzzed. It counts the edges of
# the program for libFuzzer, which needs no nightly compiler; the crates that they depend on stay as they are.
exec "$@" -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares
