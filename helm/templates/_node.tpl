{{/* How NVIDIA's container runtime brings the driver's library: every card, and of the driver NVML alone. */}}
{{- define "vgpu-serve.nvmlEnvironment" -}}
{{- $own := include "vgpu-serve.nvmlOwnEnvironment" . -}}
{{- include "vgpu-serve.environment" (dict "own" $own "extra" .extraEnv) -}}
{{- end }}

{{- define "vgpu-serve.nvmlOwnEnvironment" -}}
- name: NODE
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: NVIDIA_VISIBLE_DEVICES
  value: all
- name: NVIDIA_DRIVER_CAPABILITIES
  value: utility
- name: HOME
  value: /tmp
{{- end }}
