{{/* The chart's name, as in app.kubernetes.io/name. */}}
{{- define "vgpu-serve.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* The beginning of object names. 40 characters leave room for the longest suffix within 63. */}}
{{- define "vgpu-serve.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* The beginning of names outside namespaces: two installations of one name in two namespaces must not meet. */}}
{{- define "vgpu-serve.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "vgpu-serve.fullname" .) -}}
{{- end }}

{{/*
Labels of every object: (dict "root" $ "component" NAME), optionally "more". None stands there twice: what the values say
takes the place of ours, but for the labels by which objects are found and owned.
*/}}
{{- define "vgpu-serve.labels" -}}
{{- $chart := printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- $fixed := include "vgpu-serve.selectorLabels" . | fromYaml -}}
{{- $_ := set $fixed "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $usual := dict "helm.sh/chart" $chart "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/part-of" "vgpu-serve" -}}
{{- toYaml (merge $fixed (.more | default dict) .root.Values.commonLabels $usual) -}}
{{- end }}

{{/* What selectors name. Never changes with the chart's version: selectors are immutable, and pods would restart. */}}
{{- define "vgpu-serve.selectorLabels" -}}
app.kubernetes.io/name: {{ include "vgpu-serve.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* Metadata of a namespaced object: (dict "root" $ "name" NAME "component" NAME), optionally "namespace". */}}
{{- define "vgpu-serve.metadata" -}}
name: {{ .name }}
namespace: {{ .namespace | default .root.Release.Namespace | quote }}
labels:
  {{- include "vgpu-serve.labels" . | nindent 2 }}
{{- end }}

{{/* Metadata of a pod template: (dict "root" $ "section" VALUES "component" NAME), optionally "annotations". */}}
{{- define "vgpu-serve.podMetadata" -}}
labels:
  {{- toYaml (merge (include "vgpu-serve.selectorLabels" . | fromYaml) (.section.podLabels | default dict)) | nindent 2 }}
{{- $annotations := merge (dict) (.annotations | default dict) (.section.podAnnotations | default dict) }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A component's service account: (dict "root" $ "section" VALUES "component" NAME). */}}
{{- define "vgpu-serve.serviceAccountName" -}}
{{- $account := .section.serviceAccount -}}
{{- if $account.create -}}
{{- $account.name | default (printf "%s-%s" (include "vgpu-serve.fullname" .root) .component) -}}
{{- else -}}
{{- $account.name | default "default" -}}
{{- end -}}
{{- end }}

{{/* The account itself: also "api", whether its pods talk to the Kubernetes API, and "annotations" of a hook. */}}
{{- define "vgpu-serve.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "vgpu-serve.metadata" (merge (dict "name" (include "vgpu-serve.serviceAccountName" .)) .) | nindent 2 }}
  {{- $annotations := merge (dict) (.annotations | default dict) (.section.serviceAccount.annotations | default dict) }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: {{ .api }}
{{- end }}

{{/*
A container's environment, from the chart's own entries as YAML: (dict "own" TEXT "extra" LIST). An entry of the values
takes the place of the chart's, for server-side apply, as Helm 4 does it, refuses a name that stands there twice.
*/}}
{{- define "vgpu-serve.environment" -}}
{{- $extra := .extra | default list -}}
{{- $given := dict -}}
{{- range $extra -}}
{{- $_ := set $given .name true -}}
{{- end -}}
{{- $kept := list -}}
{{- range .own | fromYamlArray -}}
{{- if not (hasKey $given .name) -}}
{{- $kept = append $kept . -}}
{{- end -}}
{{- end -}}
{{- toYaml (concat $kept $extra) -}}
{{- end }}

{{/* A container's image: (dict "root" $ "image" VALUES), optionally "tag" where none is given. */}}
{{- define "vgpu-serve.image" -}}
{{- $global := .root.Values.image -}}
{{- $registry := .image.registry | default $global.registry -}}
{{- $repository := ternary (printf "%s/%s" ($registry | trimSuffix "/") .image.repository) .image.repository (ne $registry "") -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.image.tag | default .tag | default $global.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* One of the chart's two priority classes: (dict "root" $ "class" "control" or "workers"). */}}
{{- define "vgpu-serve.priorityClass" -}}
{{- printf "%s-%s" (include "vgpu-serve.clusterName" .root) .class -}}
{{- end }}

{{/*
Where a pod runs and as what: (dict "root" $ "section" VALUES "class" "control" or "workers"), optionally "spread", a
component whose replicas shall be on different nodes where possible.
*/}}
{{- define "vgpu-serve.placing" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .section.priorityClassName }}
priorityClassName: {{ .section.priorityClassName }}
{{- else if and .class .root.Values.priorityClasses.create }}
priorityClassName: {{ include "vgpu-serve.priorityClass" . }}
{{- end }}
{{- with .section.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .section.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .section.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .section.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .section.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml .section.topologySpreadConstraints | nindent 2 }}
{{- else if .spread }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "vgpu-serve.selectorLabels" (dict "root" .root "component" .spread) | nindent 8 }}
{{- end }}
{{- with .section.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
