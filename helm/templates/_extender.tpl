{{/* Where the scheduler asks: the Service's name with its namespace, as the certificate has it. */}}
{{- define "vgpu-serve.extenderHost" -}}
{{- printf "%s-extender.%s.svc" (include "vgpu-serve.fullname" .) .Release.Namespace -}}
{{- end }}

{{/* A Secret with tls.crt, tls.key and ca.crt. */}}
{{- define "vgpu-serve.extenderTlsSecret" -}}
{{- .Values.extender.tls.existingSecret | default (printf "%s-extender-tls" (include "vgpu-serve.fullname" .)) -}}
{{- end }}

{{/*
The extender's certificate in JSON, base64: ca, and where no Secret is named cert and key. Kept for the whole rendering,
for the Secret and the webhook must agree.
*/}}
{{- define "vgpu-serve.extenderTls" -}}
{{- $tls := .Values.extender.tls -}}
{{- if $tls.existingSecret -}}
{{- toJson (dict "ca" ($tls.caBundle | b64enc)) -}}
{{- else -}}
{{- if not (hasKey $tls "made") -}}
{{- $name := printf "%s-extender" (include "vgpu-serve.fullname" .) -}}
{{- $there := lookup "v1" "Secret" .Release.Namespace (printf "%s-tls" $name) | default dict -}}
{{- if hasKey ($there.data | default dict) "ca.crt" -}}
{{- $_ := set $tls "made" (dict "ca" (index $there.data "ca.crt") "cert" (index $there.data "tls.crt") "key" (index $there.data "tls.key")) -}}
{{- else -}}
{{- $host := include "vgpu-serve.extenderHost" . -}}
{{- $ca := genCA (printf "%s-ca" $name) 3650 -}}
{{- $cert := genSignedCert $host nil (list $host (printf "%s.%s" $name .Release.Namespace) $name) 3650 $ca -}}
{{- $_ := set $tls "made" (dict "ca" ($ca.Cert | b64enc) "cert" ($cert.Cert | b64enc) "key" ($cert.Key | b64enc)) -}}
{{- end -}}
{{- end -}}
{{- toJson $tls.made -}}
{{- end -}}
{{- end }}

{{- define "vgpu-serve.extenderEnvironment" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: HOME
  value: /tmp
{{- end }}
