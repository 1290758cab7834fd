#!/usr/bin/env bash
# build.sh [MODULE…]: builds the Go programs of the development set-up once into the cache, and links them into .dev/bin:
# hyperkube (etcd, the five Kubernetes programs, kubectl), helm, and indigo's consumers of a relay. Only when it is named:
# indigo-relay, which `make compare` measures beside ours; prometheus (with promtool), prometheus-operator
# and dashboard, by which the end-to-end suites look at what is made for them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

version_in() { # version_in MODULE DEPENDENCY: as its go.mod says
  awk -v dependency="$2" '{sub(/^require /, "")} $1 == dependency {print $2; exit}' "$ROOT/dev/tools/$1/go.mod"
}

# build MODULE NAME PACKAGE CGO USUALLY LDFLAGS…: leaves the folder of the program in $built. $tags are those of the build.
build() {
  local module=$ROOT/dev/tools/$1 name=$2 package=$3 cgo=$4 usually=$5 with=()
  shift 5
  [ -z "${tags:-}" ] || with=(-tags "$tags")
  built=$CACHE/tools/$name-$(key "$(go env GOVERSION GOARCH) $package $cgo $*${tags:+ $tags}" "$module"/*)
  [ -e "$built/$name" ] && return
  mkdir -p "$built"
  step "build-$name" "Building $name, once (usually $usually)" \
    env CGO_ENABLED="$cgo" nice -n 10 go build -C "$module" -mod=readonly -buildvcs=false -trimpath "${with[@]}" \
    -ldflags "-s -w $*" -o "$built/$name.part" "$package"
  mv "$built/$name.part" "$built/$name"
}

link() { # link NAME TARGET
  ln -sfn "$2" "$STATE/bin/$1"
}

hyperkube() {
  # Without these the servers call themselves v0.0.0-master, and kubelet is refused by the API server.
  local kubernetes flags=() at program
  kubernetes=$(version_in hyperkube k8s.io/kubernetes)
  for at in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=("-X $at.gitVersion=$kubernetes" "-X $at.gitMajor=1" "-X $at.gitMinor=$(cut -d. -f2 <<<"$kubernetes")")
    flags+=("-X $at.gitTreeState=clean" "-X $at.buildDate=1970-01-01T00:00:00Z")
  done
  build hyperkube hyperkube . 0 "5 minutes" "${flags[@]}"
  for program in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
    ln -sfn hyperkube "$built/$program"
  done
  link hyperkube "$built/hyperkube"
  link kubectl "$built/kubectl"
}

helm() {
  build helm helm helm.sh/helm/v3/cmd/helm 0 "2 minutes" \
    "-X helm.sh/helm/v3/internal/version.version=$(version_in helm helm.sh/helm/v3)"
  link helm "$built/helm"
}

indigo() {
  local program
  build indigo tap github.com/bluesky-social/indigo/cmd/tap 1 "2 minutes" # cgo for SQLite
  link tap "$built/tap"
  for program in rainbow collectiondir; do
    build indigo "$program" "github.com/bluesky-social/indigo/cmd/$program" 0 "1 minute"
    link "$program" "$built/$program"
  done
}

indigo-relay() {
  build indigo indigo-relay github.com/bluesky-social/indigo/cmd/relay 1 "3 minutes" # cgo for SQLite
  link indigo-relay "$built/indigo-relay"
}

prometheus() {
  # Of the many ways to find what to scrape, the one of Kubernetes: the others are libraries of every cloud.
  local program tags=remove_all_sd,enable_kubernetes_sd
  for program in promtool prometheus; do
    build prometheus "$program" "github.com/prometheus/prometheus/cmd/$program" 0 "3 minutes"
    link "$program" "$built/$program"
  done
}

# In a module of its own: it needs an older Prometheus as a library.
prometheus-operator() {
  local from=github.com/prometheus-operator/prometheus-operator source
  build prometheus-operator prometheus-operator "$from/cmd/operator" 0 "3 minutes"
  link prometheus-operator "$built/prometheus-operator"
  # With the definitions of its kinds, which are files of the module.
  if [ ! -e "$built/crds" ]; then
    source=$(go list -C "$ROOT/dev/tools/prometheus-operator" -mod=readonly -m -f '{{.Dir}}' "$from")
    cp -r "$source/example/prometheus-operator-crd" "$built/crds.part"
    mv "$built/crds.part" "$built/crds"
  fi
  link prometheus-operator-crds "$built/crds"
}

# Says whether Grafana takes a dashboard.
dashboard() {
  build dashboard dashboard . 0 "1 minute"
  link dashboard "$built/dashboard"
}

mkdir -p "$STATE/bin"
(($#)) || set -- hyperkube helm indigo
for module in "$@"; do "$module"; done
