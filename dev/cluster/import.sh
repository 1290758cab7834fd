#!/usr/bin/env bash
# import.sh IMAGE…: loads .dev/images/IMAGE.tar into the cluster's containerd, unless it has them. Needs root.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cd "$MACHINE/run/containerd" # a socket's path may have 107 bytes, so it is named from here
ctr="ctr --address containerd.sock --namespace k8s.io images"

for image in "$@"; do
  name=$(cat "$STATE/images/$image.name")
  [ -n "$($ctr list --quiet "name==$name")" ] || $ctr import --all-platforms "$STATE/images/$image.tar"
done
