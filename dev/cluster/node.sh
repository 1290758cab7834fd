#!/usr/bin/env bash
# The node: one machine's worth of Kubernetes in a mount namespace of its own, where it finds its programs in /opt and
# has /var, /run and /tmp to itself. Every program uses its default paths, nothing of the host's is touched, and the
# mounts of all pods vanish with the namespace.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

mount_node() {
  local directory
  mount --bind "$(dirname "$(readlink -f "$STATE/bin/hyperkube")")" /opt
  for directory in var run tmp; do mount --bind "$MACHINE/$directory" "/$directory"; done
}

# kubelet insists on three settings, which belong to the whole host; it sees what it wants to see.
pretend_sysctl() { # pretend_sysctl NAME VALUE
  echo "$2" >"/run/sysctl-$1"
  mount --bind "/run/sysctl-$1" "/proc/sys/${1//.//}"
}

mount_node
pretend_sysctl vm.overcommit_memory 1
pretend_sysctl kernel.panic 10
pretend_sysctl kernel.panic_on_oops 1
MACHINE_LOGS=/var/log
pki=/var/lib/kubernetes

keep containerd containerd --config /var/lib/containerd.toml

# No fsync: the data lives as long as the cluster does.
keep etcd /opt/etcd --name relay-dev --data-dir /var/lib/etcd --unsafe-no-fsync --log-level warn

keep kube-apiserver /opt/kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port="$API_PORT" \
  --advertise-address="$NODE_IP" --service-cluster-ip-range="$SERVICE_NET" --authorization-mode=Node,RBAC \
  --enable-admission-plugins=NodeRestriction --client-ca-file=$pki/ca.crt \
  --tls-cert-file=$pki/apiserver.crt --tls-private-key-file=$pki/apiserver.key \
  --service-account-issuer=https://kubernetes.default.svc \
  --service-account-key-file=$pki/service-account.pub --service-account-signing-key-file=$pki/service-account.key \
  --kubelet-client-certificate=$pki/apiserver-kubelet-client.crt \
  --kubelet-client-key=$pki/apiserver-kubelet-client.key --kubelet-certificate-authority=$pki/ca.crt \
  --kubelet-preferred-address-types=InternalIP # or exec and logs look the node's name up in DNS

# Its hostpath provisioner gives a volume to the user it runs as, so it runs as the user of our images. With the default
# request rate the default ServiceAccount takes five seconds more.
keep kube-controller-manager setpriv --reuid="$IMAGE_USER" --regid="$IMAGE_USER" --clear-groups \
  /opt/kube-controller-manager --kubeconfig=$pki/kube-controller-manager.kubeconfig \
  --kube-api-qps=300 --kube-api-burst=600 --leader-elect=false --bind-address=127.0.0.1 \
  --use-service-account-credentials --service-account-private-key-file=$pki/service-account.key \
  --root-ca-file=$pki/ca.crt --enable-hostpath-provisioner

keep kube-scheduler /opt/kube-scheduler --kubeconfig=$pki/kube-scheduler.kubeconfig \
  --kube-api-qps=300 --kube-api-burst=600 --leader-elect=false --bind-address=127.0.0.1

keep kubelet /opt/kubelet --config=/var/lib/kubelet.yaml --kubeconfig=$pki/kubelet.kubeconfig \
  --hostname-override="$NODE_NAME" --node-ip="$NODE_IP"

keep kube-proxy /opt/kube-proxy --config=/var/lib/kube-proxy.yaml
wait
