{{/* A profile of the plugins that Kubernetes has by default, and the extender. */}}
{{- define "vgpu-serve.schedulerConfiguration" -}}
{{- $tls := .Values.extender.tls.enabled -}}
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection:
  leaderElect: true
  resourceNamespace: {{ .Release.Namespace | quote }}
  resourceName: {{ .Values.scheduler.schedulerName }}
# Nobody needs its profiles; who reaches its port could ask for them.
enableProfiling: false
profiles:
  - schedulerName: {{ .Values.scheduler.schedulerName }}
extenders:
  - urlPrefix: {{ ternary "https" "http" $tls }}://{{ include "vgpu-serve.extenderHost" . }}:8888
    filterVerb: filter
    bindVerb: bind
    preemptVerb: preempt
    # Names instead of whole nodes: the extender watches nodes itself.
    nodeCacheCapable: true
    # Longer than one Binding with the look at it afterwards.
    httpTimeout: 20s
    # Without the extender nobody knows which card is free.
    ignorable: false
    {{- if $tls }}
    enableHTTPS: true
    tlsConfig:
      serverName: {{ include "vgpu-serve.extenderHost" . }}
      caFile: /etc/vgpu-serve/tls/ca.crt
    {{- end }}
    managedResources:
      - name: nvidia.com/vgpu
        ignoredByScheduler: {{ .Values.scheduler.unitsIgnoredByScheduler }}
      # Whole GPUs too: the extender keeps them off cards of which a fraction is taken.
      - name: nvidia.com/gpu
        ignoredByScheduler: false
{{- end }}
