# Functions for the commands that a document does not show.

# await COMMAND…: repeats the command until it succeeds, for two minutes at most.
await() {
  local end=$((SECONDS + 120))
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS > end)); then echo "in vain: $*" >&2; "$@"; return 1; fi
    sleep 0.2
  done
}

# says TEXT COMMAND…: succeeds if the output of the command contains the text.
says() {
  local text=$1 output
  shift
  output=$("$@" 2>&1) || true
  [[ $output == *"$text"* ]] || { echo "$output" >&2; return 1; }
}

# gone NODE: succeeds if the node does not exist.
gone() { ! kubectl get node "$1" 2>/dev/null; }

# node NAME…: creates nodes whose kubelet kwok simulates. Only Pods of workload run there.
node() {
  for name; do
    kubectl create -f - <<END
apiVersion: v1
kind: Node
metadata:
  name: $name
  annotations: {kwok.x-k8s.io/node: fake}
  labels: {kubernetes.io/hostname: $name, kubernetes.io/os: linux}
spec:
  taints: [{key: example.com/fake, effect: NoSchedule}]
END
    await kubectl wait --for condition=Ready --timeout 1s node "$name"
  done
}

# workload NAMESPACE NAME REPLICAS NODE…: creates a Deployment on these nodes and waits until it is available.
workload() {
  local namespace=$1 name=$2 replicas=$3
  shift 3
  local nodes=$(IFS=,; echo "$*")
  kubectl get namespace "$namespace" >/dev/null || kubectl create namespace "$namespace"
  kubectl create -f - <<END
apiVersion: apps/v1
kind: Deployment
metadata: {name: $name, namespace: $namespace}
spec:
  replicas: $replicas
  selector: {matchLabels: {app: $name}}
  template:
    metadata: {labels: {app: $name}}
    spec:
      containers: [{name: app, image: registry.example/app}]
      tolerations: [{key: example.com/fake, operator: Exists}]
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
            - matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [$nodes]}]
END
  await kubectl -n "$namespace" rollout status deployment "$name" --timeout 1s
}

# agents NUMBER: waits until so many Pods of the agent are ready, and no others exist.
agents() {
  await sh -c 'test "$(kubectl -n nodecleanup-system get pods -o jsonpath="{.items[*].status.conditions[?(@.type==\"Ready\")].status}")" = "'"$(yes True | head -n "$1" | xargs)"'"'
}

# current_config: prints the config.
current_config() { kubectl -n nodecleanup-system get configmap nodecleanup-config -o jsonpath='{.data.config\.yaml}'; }

# config: replaces the config by the standard input.
config() { kubectl -n nodecleanup-system create configmap nodecleanup-config --from-file config.yaml=/dev/stdin --dry-run=client -o yaml | kubectl -n nodecleanup-system replace -f -; }
