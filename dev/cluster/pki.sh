# shellcheck shell=bash
# Certificates and kubeconfigs of the cluster's programs, for cluster/up.sh. P-256 with PKCS#8 keys: quick to make,
# and rustls takes them.

make_key() { # make_key FILE
  openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

make_authority() {
  make_key ca.key
  openssl req -x509 -new -key ca.key -subj /CN=relay-dev -days 3650 -out ca.crt \
    -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature
}

make_certificate() { # make_certificate NAME SUBJECT [NAMES]: for a server and a client alike
  make_key "$1.key"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" -extfile <(
    echo keyUsage=critical,digitalSignature
    echo extendedKeyUsage=serverAuth,clientAuth
    [ -z "${3:-}" ] || echo "subjectAltName=$3"
  )
}

make_kubeconfig() { # make_kubeconfig NAME: holds its certificate, so the file works wherever it is copied
  cat >"$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
current-context: relay-dev
contexts: [{name: relay-dev, context: {cluster: relay-dev, user: $1}}]
clusters:
- name: relay-dev
  cluster: {server: "https://127.0.0.1:$API_PORT", certificate-authority-data: $(base64 -w0 ca.crt)}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}
YAML
}

make_identity() { # make_identity NAME SUBJECT [NAMES]
  make_certificate "$@"
  make_kubeconfig "$1"
}

make_pki() ( # make_pki DIRECTORY
  set -e
  mkdir -p "$1"
  cd "$1"
  umask 077
  make_authority
  make_key service-account.key
  openssl pkey -in service-account.key -pubout -out service-account.pub
  make_certificate apiserver /CN=kube-apiserver \
    "IP:127.0.0.1,IP:$NODE_IP,IP:10.96.0.1,DNS:kubernetes.default.svc"
  make_certificate apiserver-kubelet-client /O=system:masters/CN=apiserver-kubelet-client
  make_identity admin /O=system:masters/CN=admin
  make_identity kube-controller-manager /CN=system:kube-controller-manager
  make_identity kube-scheduler /CN=system:kube-scheduler
  make_identity kube-proxy /CN=system:kube-proxy
  chmod a+r ca.crt
  chown "$IMAGE_USER" kube-controller-manager.kubeconfig service-account.key # it does not run as root
  make_identity kubelet "/O=system:nodes/CN=system:node:$NODE_NAME" "IP:$NODE_IP,DNS:$NODE_NAME"
)
