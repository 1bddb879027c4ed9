{{- define "dbbalance.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "dbbalance.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "dbbalance.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Cluster-scoped names contain the namespace, so that two releases with the same name do not collide. */}}
{{- define "dbbalance.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "dbbalance.fullname" .) -}}
{{- end -}}

{{- define "dbbalance.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dbbalance.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dbbalance.labels" -}}
{{ include "dbbalance.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "dbbalance.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "dbbalance.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "dbbalance.subject" -}}
- kind: ServiceAccount
  name: {{ include "dbbalance.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- define "dbbalance.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/*
Returns the namespaces that a list such as signal.namespaces stands for, as a JSON list: ["*"] becomes the
watched ones, and stays ["*"] if all are watched. A namespace that is not watched is refused, because the right
would be granted and never used. The argument is a list: the context, and the key above namespaces.
*/}}
{{- define "dbbalance.execNamespaces" -}}
{{- $root := index . 0 -}}
{{- $key := index . 1 -}}
{{- $watched := $root.Values.watch.namespaces -}}
{{- $listed := (index $root.Values $key).namespaces -}}
{{- if has "*" $listed -}}
{{- if gt (len $listed) 1 -}}
{{- fail (printf "%s.namespaces: \"*\" means every watched namespace and stands alone" $key) -}}
{{- end -}}
{{- $watched | default (list "*") | toJson -}}
{{- else -}}
{{- range $listed -}}
{{- if and $watched (not (has . $watched)) -}}
{{- fail (printf "%s.namespaces: %q is not in watch.namespaces" $key .) -}}
{{- end -}}
{{- end -}}
{{- $listed | toJson -}}
{{- end -}}
{{- end -}}

{{- define "dbbalance.signalNamespaces" -}}
{{- include "dbbalance.execNamespaces" (list . "signal") -}}
{{- end -}}

{{- define "dbbalance.evidenceNamespaces" -}}
{{- include "dbbalance.execNamespaces" (list . "evidence") -}}
{{- end -}}

{{/*
Returns the Services of steering.services as a JSON list of "namespace/name". One that no watched policy can name is
refused, because the right would be granted and never used.
*/}}
{{- define "dbbalance.steeredServices" -}}
{{- $names := list -}}
{{- range .Values.steering.services -}}
{{- if and $.Values.watch.namespaces (not (has .namespace $.Values.watch.namespaces)) -}}
{{- fail (printf "steering.services: namespace %q is not in watch.namespaces" .namespace) -}}
{{- end -}}
{{- $names = append $names (printf "%s/%s" .namespace .name) -}}
{{- end -}}
{{- $names | toJson -}}
{{- end -}}

{{/* Returns the names of steering.slices as a JSON list. */}}
{{- define "dbbalance.steeredSlices" -}}
{{- $names := list -}}
{{- range .Values.steering.slices -}}
{{- if has .name $names -}}
{{- fail (printf "steering.slices: %q is listed twice: it stands for one endpoint" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $names | toJson -}}
{{- end -}}

{{/* The rights that the operator needs in watched namespaces, each with its reason. */}}
{{- define "dbbalance.rules" -}}
# Policies are watched; get, to read one again before an effect.
- apiGroups: [dbbalance.io]
  resources: [dbbalancepolicies]
  verbs: [get, list, watch]
# Epochs, conditions and the plan are written to the status. The spec is the user's.
- apiGroups: [dbbalance.io]
  resources: [dbbalancepolicies/status]
  verbs: [patch]
# Pods are watched for their age, readiness and stamps; patch, to write the annotations (claim, stamp, topology);
# get, to check a pod whose eviction timed out (rare).
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
# Workloads are watched for their replicas, strategy and rollouts; ReplicaSets lead from a pod to its Deployment.
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets, replicasets]
  verbs: [list, watch]
# PodDisruptionBudgets are watched, to say before a failover that one would refuse every eviction (condition Prepared).
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch]
{{- if .Values.rbac.rollout }}
# Method Rollout stamps the pod template.
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  verbs: [patch]
{{- end }}
{{- if .Values.rbac.evict }}
# Method Evict, and fallback Evict. An eviction, unlike a deletion, respects PodDisruptionBudgets.
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
{{- end }}
# Every transition is an event on the policy; patch, to count a repeated one; get, because an epoch's open
# time is the creation time of its event, which may exist already.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, create, patch]
{{- end -}}

{{/* Exec, to send a signal to a process. */}}
{{- define "dbbalance.signalRules" -}}
# Method Signal runs kill in the container. Exec by WebSocket is a GET request, for which API servers require
# get; newer ones also require create.
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [get, create]
{{- end -}}

{{/* Exec, to read connections. */}}
{{- define "dbbalance.evidenceRules" -}}
# Evidence from ProcNet runs cat on /proc/net/tcp and tcp6 in one container of a pod. Exec by WebSocket is a
# GET request, for which API servers require get; newer ones also require create.
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [get, create]
{{- end -}}

{{/* Not empty if a binding of a cluster selects namespaces by their labels. */}}
{{- define "dbbalance.selectsNamespaces" -}}
{{- range .Values.clusters -}}
{{- if .namespaceSelector -}}
true
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A condition in CEL: of the annotations, those of a steered name alone differ between the variables before and after. */}}
{{- define "dbbalance.steeredAnnotations" -}}
{{- $own := list "dbbalance.io/narrowed" "dbbalance.io/widens-to" | toJson -}}
variables.after.all(k, k in {{ $own }} || (k in variables.before && variables.before[k] == variables.after[k]))
        && variables.before.all(k, k in {{ $own }} || k in variables.after)
{{- end -}}
