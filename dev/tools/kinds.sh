#!/usr/bin/env bash
# kinds.sh KIND…: the file with the CustomResourceDefinition of each kind of another project, as kinds.tsv pins it. A Go
# module that is not there yet is downloaded, and compared with its checksum.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# Only files are wanted: a module for a newer Go is as good.
export GOTOOLCHAIN=local
cd / # outside of any module

modules=$(go env GOMODCACHE)
for wanted; do
  found=
  while IFS=$'\t' read -r kind module version sum path; do
    [ "$kind" = "$wanted" ] || continue
    found=$modules/$module@$version/$path
    # For a module of a newer Go it says so and fails; the module is there all the same.
    said=$(go mod download -json "$module@$version" 2>/dev/null || true)
    [[ $said == *"\"Sum\": \"$sum\""* ]] || die "$module@$version is not to be had, or not with the checksum $sum: $said"
    [ -e "$found" ] || die "$module@$version has no $path"
  done <"$ROOT/dev/tools/kinds.tsv"
  [ -n "$found" ] || die "dev/tools/kinds.tsv has no kind $wanted"
  printf '%s\n' "$found"
done
