{{/* Every Ray process of the cluster, the autoscaler and the check of who may drain agree on one token. */}}
{{- define "vgpu-serve.tokenSecret" -}}
{{- .Values.ray.token.existingSecret | default (printf "%s-ray-token" (include "vgpu-serve.fullname" .)) -}}
{{- end }}

{{- define "vgpu-serve.tokenVolume" -}}
- name: ray-token
  secret:
    secretName: {{ include "vgpu-serve.tokenSecret" . }}
    # Readable by the pod's group, which is fsGroup.
    defaultMode: 0440
    items:
      - key: {{ .Values.ray.token.existingSecretKey }}
        path: token
{{- end }}

{{/* A directory and no subPath: only a directory follows the ConfigMap when it changes. */}}
{{- define "vgpu-serve.modelsVolume" -}}
- name: models
  configMap:
    name: {{ include "vgpu-serve.fullname" . }}-models
{{- end }}

{{- define "vgpu-serve.modelsMount" -}}
- name: models
  mountPath: /etc/vgpu-serve/models
  readOnly: true
{{- end }}

{{- define "vgpu-serve.rayEnvironment" -}}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN_PATH
  value: /var/run/secrets/ray/token
# The root file system is read-only; Ray and the model libraries look for a home.
- name: HOME
  value: /tmp
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- end }}

{{- define "vgpu-serve.rayMounts" -}}
- name: ray-token
  mountPath: /var/run/secrets/ray
  readOnly: true
- name: tmp
  mountPath: /tmp
- name: shm
  mountPath: /dev/shm
{{- end }}

{{/* Call with (dict "root" $ "section" VALUES). */}}
{{- define "vgpu-serve.rayVolumes" -}}
{{ include "vgpu-serve.tokenVolume" .root }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .section.tmpSize }}
# Ray's object store; the container runtime gives 64 MiB.
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ .section.shmSize }}
{{- with .root.Values.ray.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The head's pod, the same under either backend. */}}
{{- define "vgpu-serve.headPod" -}}
{{- $head := .Values.ray.head -}}
metadata:
  {{- include "vgpu-serve.podMetadata" (dict "root" $ "section" $head "component" "head") | nindent 2 }}
spec:
  serviceAccountName: {{ include "vgpu-serve.serviceAccountName" (dict "root" $ "section" .Values.ray "component" "ray") }}
  automountServiceAccountToken: false
  {{- include "vgpu-serve.placing" (dict "root" $ "section" $head "class" "control") | trim | nindent 2 }}
  terminationGracePeriodSeconds: {{ $head.terminationGracePeriodSeconds | int64 }}
  enableServiceLinks: false
  # The deployer is a Ray driver of this node: it shares Ray's files, its memory and, so that Ray sees it live, its pids.
  shareProcessNamespace: true
  containers:
    - name: ray-head
      {{- include "vgpu-serve.headContainer" . | nindent 6 }}
    - name: deployer
      {{- include "vgpu-serve.deployerContainer" . | nindent 6 }}
  volumes:
    {{- include "vgpu-serve.rayVolumes" (dict "root" $ "section" $head) | nindent 4 }}
    {{- include "vgpu-serve.modelsVolume" . | nindent 4 }}
{{- end }}

{{- define "vgpu-serve.headContainer" -}}
{{- $head := .Values.ray.head -}}
image: {{ include "vgpu-serve.image" (dict "root" . "image" .Values.ray.image) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [python, -m, serving.head, --host, 0.0.0.0, --http-port, "8000"]
{{- with $head.extraArgs }}
args:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- include "vgpu-serve.environment" (dict "own" (include "vgpu-serve.rayEnvironment" .) "extra" $head.extraEnv) | nindent 2 }}
ports:
  - {name: gcs, containerPort: 6379}
  - {name: dashboard, containerPort: 8265}
  - {name: http, containerPort: 8000}
  - {name: haproxy, containerPort: 9101}
# Ray's control store answers through the dashboard, which needs no token for this path. Readiness says no more: whether
# the models are deployed is the deployer's to say.
startupProbe:
  httpGet: {path: /api/gcs_healthz, port: dashboard}
  periodSeconds: 3
  timeoutSeconds: 5
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /api/gcs_healthz, port: dashboard}
  periodSeconds: 5
  timeoutSeconds: 5
# A restart of the head takes every worker with it: only what has been gone for a minute is restarted.
livenessProbe:
  httpGet: {path: /api/gcs_healthz, port: dashboard}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
lifecycle:
  preStop:
    # Whoever balances load towards this pod hears of its end first; then Ray is told, and drains what is in flight.
    exec:
      command: [sleep, "5"]
resources:
  {{- toYaml $head.resources | nindent 2 }}
securityContext:
  {{- toYaml $head.securityContext | nindent 2 }}
volumeMounts:
  {{- include "vgpu-serve.rayMounts" . | nindent 2 }}
  {{- with .Values.ray.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What head and workers set for themselves (serving.ray_environment) too, for the same Ray Serve is loaded here. */}}
{{- define "vgpu-serve.deployerEnvironment" -}}
{{ include "vgpu-serve.rayEnvironment" . }}
- name: RAY_SERVE_ENABLE_HA_PROXY
  value: "1"
- name: RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S
  value: "5"
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
- name: OMP_NUM_THREADS
  value: "1"
{{- end }}

{{- define "vgpu-serve.deployerContainer" -}}
{{- $deployer := .Values.ray.deployer -}}
image: {{ include "vgpu-serve.image" (dict "root" . "image" .Values.ray.image) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command:
  - python
  - -m
  - serving
  - /etc/vgpu-serve/models/models.yaml
  - --ray-address=127.0.0.1:6379
  - --http-host=0.0.0.0
  - --http-port=8000
  - --watch
  - --cost-ratio={{ $deployer.costRatio }}
  - --listen=0.0.0.0:9107
{{- with $deployer.extraArgs }}
args:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- include "vgpu-serve.environment" (dict "own" (include "vgpu-serve.deployerEnvironment" .) "extra" $deployer.extraEnv) | nindent 2 }}
ports:
  - {name: deployer, containerPort: 9107}
startupProbe:
  httpGet: {path: /healthz, port: deployer}
  periodSeconds: 3
  timeoutSeconds: 5
  failureThreshold: 100
# Ready once the last good models file is deployed; `helm upgrade --wait` waits for this.
readinessProbe:
  httpGet: {path: /readyz, port: deployer}
  periodSeconds: 5
  timeoutSeconds: 5
livenessProbe:
  httpGet: {path: /healthz, port: deployer}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
resources:
  {{- toYaml $deployer.resources | nindent 2 }}
securityContext:
  {{- toYaml $deployer.securityContext | nindent 2 }}
volumeMounts:
  {{- include "vgpu-serve.rayMounts" . | nindent 2 }}
  {{- include "vgpu-serve.modelsMount" . | nindent 2 }}
  {{- with .Values.ray.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
