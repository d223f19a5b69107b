{{/*
The rules that the steps and the delete guard of the config need. The command line computes the
same ones from the plugins (pkg/access); a test compares the two.
*/}}
{{- define "nodecleanup.stepRules" -}}
{{- $need := dict -}}
{{- range .Values.config.steps -}}
  {{- $options := .options | default dict -}}
  {{- if eq .plugin "drain" -}}
    {{- $_ := set $need "drain" true -}}
    {{- if ne (get $options "api" | default "auto") "eviction" -}}{{- $_ := set $need "requests" true -}}{{- end -}}
    {{- if regexMatch "[1-9]" (get $options "forceAfter" | default "0" | toString) -}}{{- $_ := set $need "force" true -}}{{- end -}}
    {{- range (get $options "rules" | default list) -}}
      {{- if eq (get . "action" | default "") "rolloutRestart" -}}{{- $_ := set $need "restart" true -}}{{- end -}}
    {{- end -}}
  {{- else if eq .plugin "volumes" -}}
    {{- $_ := set $need "volumes" true -}}
  {{- end -}}
{{- end -}}
{{- if dig "guard" "criticalPods" list .Values.config -}}{{- $_ := set $need "guard" true -}}{{- end -}}
{{- if $need.drain }}
# Drain: name what blocks the deletion of a terminating namespace, whose Pods cannot be evicted.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end }}
{{- if $need.volumes }}
# Volumes: a claim tells whose volume it is.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
{{- end }}
{{- if or $need.drain $need.volumes $need.guard }}
# Find the Pods of a Node by spec.nodeName{{ if $need.drain }}, and follow them until they are deleted{{ end }}.
{{- if $need.force }}
# Delete: option forceAfter of drain.
{{- end }}
- apiGroups: [""]
  resources: [pods]
  verbs: [{{ if $need.force }}delete, {{ end }}list{{ if $need.drain }}, watch{{ end }}]
{{- end }}
{{- if $need.drain }}
# Drain: evict, so that budgets are respected.
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
{{- end }}
{{- if $need.restart }}
# Drain: action rolloutRestart of its rules.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, patch]
{{- end }}
{{- if $need.requests }}
# Drain: request, watch and withdraw the eviction of Pods that name eviction responders.
# Kubernetes serves this API only with the feature gate EvictionRequestAPI.
- apiGroups: [lifecycle.k8s.io]
  resources: [evictionrequests]
  verbs: [create, delete, list, watch]
{{- end }}
{{- if $need.drain }}
# Drain: evict as soon as a blocking budget allows it. Without this rule, drain retries by backoff.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch]
{{- end }}
{{- if $need.volumes }}
# Volumes: see those of the drained Pods being detached. The API server cannot select them by
# node.
- apiGroups: [storage.k8s.io]
  resources: [volumeattachments]
  verbs: [list, watch]
{{- end }}
{{- end -}}
