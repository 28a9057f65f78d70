{{/* What is scraped, in JSON by component: the ports of its pods. */}}
{{- define "vgpu-serve.scraped" -}}
{{- $scraped := dict "autoscaler" (list "metrics") "head" (list "deployer" "haproxy") "worker" (list "metrics") -}}
{{- if .Values.extender.enabled -}}
{{- $_ := set $scraped "extender" (list "extender") -}}
{{- end -}}
{{- if .Values.devicePlugin.enabled -}}
{{- $_ := set $scraped "device-plugin" (list "metrics") -}}
{{- end -}}
{{- if .Values.exporter.enabled -}}
{{- $_ := set $scraped "exporter" (list "metrics") -}}
{{- end -}}
{{- if .Values.switcher.enabled -}}
{{- $_ := set $scraped "switcher" (list "metrics") -}}
{{- end -}}
{{- toJson $scraped -}}
{{- end }}

{{/* One port of a ServiceMonitor's or PodMonitor's list: (dict "root" $ "monitor" VALUES "component" NAME "port" PORT). */}}
{{- define "vgpu-serve.endpoint" -}}
port: {{ .port }}
path: /metrics
interval: {{ .monitor.interval }}
scrapeTimeout: {{ .monitor.scrapeTimeout }}
honorLabels: {{ .monitor.honorLabels }}
{{- if and (eq .component "extender") .root.Values.extender.tls.enabled }}
scheme: https
tlsConfig:
  serverName: {{ include "vgpu-serve.extenderHost" .root }}
  ca:
    secret:
      name: {{ include "vgpu-serve.extenderTlsSecret" .root }}
      key: ca.crt
{{- end }}
{{- with .monitor.relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels and annotations of an object that a monitoring stack selects: (dict "root" $ "section" VALUES …). */}}
{{- define "vgpu-serve.monitoringMetadata" -}}
{{- include "vgpu-serve.metadata" (merge (dict "namespace" .section.namespace "more" .section.additionalLabels) .) }}
{{- with .section.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
