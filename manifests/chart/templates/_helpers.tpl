{{/* The namespace as a YAML string: one of digits alone would be read as a number. */}}
{{- define "nodecleanup.namespace" -}}
{{ toYaml .Release.Namespace }}
{{- end -}}

{{/*
"true" when Helm installs or upgrades on a cluster; empty when it only prints
(helm template), where nothing can be looked up.
*/}}
{{- define "nodecleanup.onCluster" -}}
{{- if lookup "v1" "Namespace" "" "kube-system" -}}true{{- end -}}
{{- end -}}

{{/* An image's name, of an image and the chart: a digest is stronger than a tag. */}}
{{- define "nodecleanup.image" -}}
{{- $tag := .image.tag | default .Chart.AppVersion -}}
{{- if .image.digest -}}
{{ printf "%s@%s" .image.repository .image.digest | toYaml }}
{{- else -}}
{{ printf "%s:%s" .image.repository $tag | toYaml }}
{{- end -}}
{{- end -}}

{{/* "true" when the agent runs in this cluster, and not on a developer's machine. */}}
{{- define "nodecleanup.inCluster" -}}
{{- if not .Values.agentURL -}}true{{- end -}}
{{- end -}}

{{/*
"true" when the policy inside the API server puts the finalizer on: always if asked for,
and else where the server is known to have such policies.
*/}}
{{- define "nodecleanup.policy" -}}
{{- $has := .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
{{- $printed := and (not (include "nodecleanup.onCluster" .)) (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version) -}}
{{- if or (eq .Values.admission "policy") (and (eq .Values.admission "auto") (or $has $printed)) -}}true{{- end -}}
{{- end -}}

{{/* What the API server calls for a webhook, of the root and its path. */}}
{{- define "nodecleanup.clientConfig" -}}
{{- if .root.Values.agentURL -}}
url: {{ printf "%s%s" (trimSuffix "/" .root.Values.agentURL) .path | toYaml }}
{{- else -}}
service:
  name: nodecleanup-agent
  namespace: {{ include "nodecleanup.namespace" .root }}
  path: {{ .path }}
  port: 443
{{- end -}}
{{- end -}}

{{/* The labels by which the agent's Pods are found. */}}
{{- define "nodecleanup.selector" -}}
app.kubernetes.io/name: nodecleanup
app.kubernetes.io/component: agent
{{- end -}}

{{/* What the agent's container mounts, and from where; both empty by default. */}}
{{- define "nodecleanup.mounts" -}}
{{- if .Values.certManager.enabled }}
- name: webhook-certificate
  mountPath: /etc/nodecleanup/webhook-certificate
  readOnly: true
{{- end }}
{{- if .Values.webhookCallers.clientCA }}
- name: webhook-clients
  mountPath: /etc/nodecleanup/webhook-clients
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
{{- define "nodecleanup.volumes" -}}
{{- if .Values.certManager.enabled }}
- name: webhook-certificate
  secret:
    secretName: nodecleanup-webhook-certificate
{{- end }}
{{- if .Values.webhookCallers.clientCA }}
- name: webhook-clients
  configMap:
    name: nodecleanup-webhook-clients
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Labels and annotations of a hook, of its kind, name and weight, and whether it stays when
it succeeds. The label is not the agent's: by that one everything is found that an
uninstall removes.
*/}}
{{- define "nodecleanup.hook" -}}
labels:
  app.kubernetes.io/name: {{ .name }}
  app.kubernetes.io/part-of: nodecleanup
annotations:
  helm.sh/hook: {{ .hook }}
  helm.sh/hook-weight: {{ .weight | quote }}
  # Helm prints why it failed; before version 4 the log is that of the Pod, which stays.
  helm.sh/hook-output-log-policy: hook-failed
  helm.sh/hook-delete-policy: {{ .keep | ternary "before-hook-creation" "before-hook-creation,hook-succeeded" }}
{{- end -}}

{{/* The whole seconds in a length of time such as 4m or 1h30m; what is below one counts as one. */}}
{{- define "nodecleanup.seconds" -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+[a-zµ]+" . -1 -}}
{{- $unit := regexFind "[a-zµ]+" . -}}
{{- $sum = addf $sum (mulf (regexFind "[0-9.]+" . | float64) (get (dict "h" 3600 "m" 60 "s" 1 "ms" 0.001) $unit | default 0)) -}}
{{- end -}}
{{ ceil $sum | int64 }}
{{- end -}}

{{/* The Pod that runs the command line, of the root, a service account and arguments. */}}
{{- define "nodecleanup.cliPod" -}}
restartPolicy: Never
serviceAccountName: {{ .name }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ toYaml . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
- name: cli
  image: {{ include "nodecleanup.image" (dict "image" .root.Values.cli.image "Chart" .root.Chart) }}
  {{- with .root.Values.imagePullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  args:
  {{- range .arguments }}
  - {{ toYaml . }}
  {{- end }}
  resources:
    requests:
      cpu: 20m
      memory: 64Mi
    limits:
      memory: 256Mi
  {{- with .root.Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
