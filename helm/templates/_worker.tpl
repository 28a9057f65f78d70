{{/* The settings of one slot type's workers, in JSON: workers, and over them what workers.slots says of its label. */}}
{{- define "vgpu-serve.workerSettings" -}}
{{- $settings := omit .root.Values.workers "slots" | deepCopy -}}
{{- range $given, $own := .root.Values.workers.slots -}}
{{- if eq (include "vgpu-serve.slotLabel" $given) $.label -}}
{{- $settings = mergeOverwrite $settings (deepCopy $own) -}}
{{- end -}}
{{- end -}}
{{- toJson $settings -}}
{{- end }}

{{/*
Who may place a worker. Fractions need the scheduler that asks the extender. Whole slots go by it too: it keeps them off
cards of which a fraction is taken.
*/}}
{{- define "vgpu-serve.schedulerName" -}}
{{- if .root.Values.workers.schedulerName -}}
{{- .root.Values.workers.schedulerName -}}
{{- else if .root.Values.scheduler.enabled -}}
{{- .root.Values.scheduler.schedulerName -}}
{{- end -}}
{{- end }}

{{/* What a worker pool's selector names; the autoscaler knows the pool by its label. */}}
{{- define "vgpu-serve.poolLabels" -}}
{{ include "vgpu-serve.selectorLabels" (dict "root" .root "component" "worker") }}
vgpu-serve.io/pool: {{ .pool.name }}
{{- end }}

{{/* The pod of one pool, the same under either backend: (dict "root" $ "label" SLOT "pool" POOL). */}}
{{- define "vgpu-serve.workerPod" -}}
{{- $worker := include "vgpu-serve.workerSettings" . | fromJson -}}
{{- $selector := dict -}}
{{- if eq .pool.units "0" -}}
{{- $selector = dict "vgpu.type" .label -}}
{{- end -}}
{{- $_ := set $worker "nodeSelector" (merge $selector ($worker.nodeSelector | default dict)) -}}
metadata:
  labels:
    {{- toYaml (merge (include "vgpu-serve.poolLabels" . | fromYaml) ($worker.podLabels | default dict)) | nindent 4 }}
  {{- with $worker.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "vgpu-serve.serviceAccountName" (dict "root" .root "section" .root.Values.ray "component" "ray") }}
  automountServiceAccountToken: false
  {{- with include "vgpu-serve.schedulerName" . }}
  schedulerName: {{ . }}
  {{- end }}
  {{- include "vgpu-serve.placing" (dict "root" .root "section" $worker "class" "workers") | trim | nindent 2 }}
  # Longer than preStop and Ray's own drain after it: a shorter one would cut off what the replica still answers.
  terminationGracePeriodSeconds: {{ $worker.terminationGracePeriodSeconds | int64 }}
  enableServiceLinks: false
  containers:
    # The scheduler extender's annotations carry this name: devices.vgpu-serve.io/worker.
    - name: worker
      {{- include "vgpu-serve.workerContainer" (merge (dict "worker" $worker) .) | nindent 6 }}
  volumes:
    {{- include "vgpu-serve.rayVolumes" (dict "root" .root "section" $worker) | nindent 4 }}
{{- end }}

{{- define "vgpu-serve.workerContainer" -}}
{{- $worker := .worker -}}
{{- $amount := dict "nvidia.com/gpu" "1" -}}
{{- if ne .pool.units "0" -}}
{{- $amount = dict "nvidia.com/vgpu" .pool.units -}}
{{- end -}}
image: {{ include "vgpu-serve.image" (dict "root" .root "image" .root.Values.ray.image) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command:
  - python
  - -m
  - serving.worker
  - --ray-address={{ include "vgpu-serve.fullname" .root }}-head.{{ .root.Release.Namespace }}:6379
  - --slot={{ .label }}
{{- with $worker.extraArgs }}
args:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- $own := printf "%s\n%s" (include "vgpu-serve.workerEnvironment" .) (include "vgpu-serve.rayEnvironment" .root) }}
  {{- include "vgpu-serve.environment" (dict "own" $own "extra" $worker.extraEnv) | nindent 2 }}
ports:
  - {name: metrics, containerPort: 9105}
# Ready is a Ray node that has joined: a replica may come. A slot without a replica is ready too, for it is asked for nothing.
startupProbe:
  exec:
    command: [python, -m, serving.worker, ready]
  periodSeconds: 5
  timeoutSeconds: 15
  failureThreshold: 60
readinessProbe:
  exec:
    command: [python, -m, serving.worker, ready]
  periodSeconds: 15
  timeoutSeconds: 15
# Ray's own agent on this node. It says well while the head is away, so that a restart of the head restarts no worker by this.
livenessProbe:
  httpGet: {path: /api/local_raylet_healthz, port: 52365}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 8
lifecycle:
  preStop:
    # Gives up the slot and waits until the replica has answered all it took; SIGTERM comes after.
    exec:
      command: [python, -m, serving.worker, drain, --timeout-s, {{ $worker.drainTimeoutSeconds | quote }}]
resources:
  {{- $resources := $worker.resources | default dict | deepCopy }}
  {{- range $part := list "requests" "limits" }}
  {{- $_ := set $resources $part (merge (dict) $amount (get $resources $part | default dict)) }}
  {{- end }}
  {{- toYaml $resources | nindent 2 }}
securityContext:
  {{- toYaml $worker.securityContext | nindent 2 }}
volumeMounts:
  {{- include "vgpu-serve.rayMounts" .root | nindent 2 }}
  {{- with .root.Values.ray.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/*
How a worker hears which slot it has. A fraction's card is known only once the scheduler has bound the pod, so it is read
from the annotations on the Binding; the entries are those of vgpu.core.allocation.environment("worker").
*/}}
{{- define "vgpu-serve.workerEnvironment" -}}
{{- if ne .pool.units "0" }}
{{- range $name, $prefix := dict "NVIDIA_VISIBLE_DEVICES" "devices" "VGPU_SLOT_FRAMEBUFFER_MIB" "framebuffer-mib" "VGPU_SLOT_UNITS" "units" }}
- name: {{ $name }}
  valueFrom:
    fieldRef:
      fieldPath: metadata.annotations['{{ $prefix }}.vgpu-serve.io/worker']
{{- end }}
{{- end }}
- name: VGPU_NODE
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: VGPU_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- range list "VGPU_POD" "VGPU_WORKER" }}
- name: {{ . }}
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
{{- if ne .pool.units "0" }}
# The exporter finds a process' slot by this name.
- name: VGPU_SLOT_ID
  value: $(VGPU_NODE)/$(VGPU_NAMESPACE).$(VGPU_POD)
{{- end }}
# Of the driver what computing takes; the container runtime brings only its tools by itself.
- name: NVIDIA_DRIVER_CAPABILITIES
  value: compute,utility
- name: VGPU_SLOT_SCHEDULER_POLICY
  value: {{ .worker.slotSchedulerPolicy }}
{{- end }}
