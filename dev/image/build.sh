#!/usr/bin/env bash
# build.sh NAME BINARY [ARGUMENT…]: makes the OCI image of one program, which it runs with these arguments where nobody names
# others; without a container tool. Prints its name in a cluster.
#
#   .dev/images/NAME/     an OCI image layout, for a registry: skopeo copy oci:.dev/images/NAME:dev docker://…
#   .dev/images/NAME.tar  the same as an archive, for a cluster's containerd: ctr images import
#   .dev/images/NAME.name the printed name
#
# One layer: the program, the shared libraries it names, CA certificates, and the user that it runs as. The same input
# gives the same bytes, so the digest tells whether anything has changed; it is also the image's second tag, which makes
# a changed image a changed pod.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

name=$1 binary=$2
shift 2
arguments=("$@")
repository=relay.local/$name
layout=$STATE/images/$name

# What it is made from; the same again needs no work.
from=$(key "$name ${arguments[*]}" "$binary" "${BASH_SOURCE[0]}")
if [ "$(cat "$layout.from" 2>/dev/null)" = "$from" ]; then
  cat "$layout.name"
  exit
fi

umask 022 # modes are part of the bytes
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

fill_root() {
  local library
  mkdir -p "$root"/{etc/ssl/certs,home/nonroot,tmp,usr/local/bin}
  chmod 1777 "$root/tmp"
  strip --strip-debug -o "$root/usr/local/bin/$name" "$binary"
  # Lines of ldd: "libm.so.6 => /lib/…/libm.so.6 (0x…)" and "/lib64/ld-linux-….so.2 (0x…)".
  for library in $(ldd "$binary" 2>/dev/null | grep -o '/[^ ]*'); do
    install -D -m 755 "$library" "$root$library"
  done
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  printf 'root:x:0:0::/:/sbin/nologin\nnonroot:x:%d:%d::/home/nonroot:/sbin/nologin\n' "$IMAGE_USER" "$IMAGE_USER" >"$root/etc/passwd"
  printf 'root:x:0:\nnonroot:x:%d:\n' "$IMAGE_USER" >"$root/etc/group"
  echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
}

add_to_layer() { # add_to_layer OWNER TAR_ARGUMENTS…
  local owner=$1
  shift
  tar --file "$work/layer.tar" --append --directory "$root" --format=gnu --sort=name --mtime=@0 --numeric-owner \
    --owner="$owner" --group="$owner" "$@"
}

put_blob() { # put_blob FILE: moves it into the layout and prints its descriptor
  local digest size
  digest=$(sha256sum "$1" | cut -d' ' -f1)
  size=$(stat --format=%s "$1")
  mv "$1" "$layout/blobs/sha256/$digest"
  jq --null-input --arg digest "sha256:$digest" --argjson size "$size" '{$digest, $size}'
}

fill_root
add_to_layer 0 --exclude=./home/nonroot .
add_to_layer "$IMAGE_USER" ./home/nonroot
diff_id=sha256:$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
gzip --no-name "$work/layer.tar"

rm -rf "$layout"
mkdir -p "$layout/blobs/sha256"
layer=$(put_blob "$work/layer.tar.gz")

case $(uname -m) in x86_64) architecture=amd64 ;; aarch64) architecture=arm64 ;; *) die "no image for $(uname -m)" ;; esac
jq --null-input --arg name "$name" --arg user "$IMAGE_USER:$IMAGE_USER" --arg diff_id "$diff_id" --arg architecture "$architecture" --args '{
  $architecture, os: "linux",
  config: {User: $user, Entrypoint: ["/usr/local/bin/\($name)"], Cmd: $ARGS.positional, WorkingDir: "/home/nonroot",
    Labels: {"org.opencontainers.image.title": $name, "org.opencontainers.image.licenses": "MIT OR Apache-2.0"}},
  rootfs: {type: "layers", diff_ids: [$diff_id]}
}' "${arguments[@]}" >"$work/config.json"
config=$(put_blob "$work/config.json")

jq --null-input --argjson config "$config" --argjson layer "$layer" '
  "application/vnd.oci.image." as $type | {
  schemaVersion: 2, mediaType: "\($type)manifest.v1+json",
  config: ({mediaType: "\($type)config.v1+json"} + $config),
  layers: [{mediaType: "\($type)layer.v1.tar+gzip"} + $layer]
}' >"$work/manifest.json"
manifest=$(put_blob "$work/manifest.json")

tag=dev-$(jq --raw-output '.digest[7:19]' <<<"$manifest")
jq --null-input --argjson manifest "$manifest" --arg repository "$repository" --arg tag "$tag" '{
  schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
  manifests: [("dev", $tag) as $tag | {mediaType: "application/vnd.oci.image.manifest.v1+json"} + $manifest + {
    annotations: {"io.containerd.image.name": "\($repository):\($tag)", "org.opencontainers.image.ref.name": $tag}}]
}' >"$layout/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"

tar --create --file "$layout.tar" --directory "$layout" --sort=name --mtime=@0 --numeric-owner --owner=0 --group=0 .
echo "$repository:$tag" | tee "$layout.name"
echo "$from" >"$layout.from"
