{{/* The models file: five values, as they are written. The processes fill in what is left out. */}}
{{- define "vgpu-serve.modelsFile" -}}
{{- $file := dict "models" .Values.models -}}
{{- range $key := list "tenants" "policy" "guardrails" "card_costs" -}}
{{- with get $.Values $key -}}
{{- $_ := set $file $key . -}}
{{- end -}}
{{- end -}}
{{- toYaml $file -}}
{{- end }}

{{/*
The label of a slot type, as vgpu/core/slot_type.py and profile.py write it: "GRID V100-8Q" is v100-8q-8GB, fraction:500 is
fraction-500. Empty for what is neither; which boards there are is known to the processes, and the models check asks them.
*/}}
{{- define "vgpu-serve.slotLabel" -}}
{{- $text := . | toString | trim | lower -}}
{{- $profile := "^(?:(?:grid|nvidia)[ _-])?([a-z0-9]+(?:-ada)?(?:-[1-9])?-(?:0|[1-9][0-9]*)[abcq](?:nome|meall|me|gfx)?)(?:-[0-9]+(?:gb|mb))?$" -}}
{{- if regexMatch "^fraction[:-][0-9]{1,6}$" $text -}}
{{- $units := regexReplaceAll "^fraction[:-]0*" $text "" -}}
{{- if and $units (le (atoi $units) 1000) -}}
{{- printf "fraction-%s" $units -}}
{{- end -}}
{{- else if and (not (hasPrefix "fraction" $text)) (regexMatch $profile $text) -}}
{{- $body := regexReplaceAll $profile $text "${1}" -}}
{{- $gigabytes := regexReplaceAll "^.*-([0-9]+)[abcq][a-z]*$" $body "${1}" -}}
{{- printf "%s-%s" $body (ternary "512MB" (printf "%sGB" $gigabytes) (eq $gigabytes "0")) -}}
{{- end -}}
{{- end }}

{{/* The slot types of one model as a list of texts, in JSON. */}}
{{- define "vgpu-serve.slotTexts" -}}
{{- if kindIs "slice" .slot -}}{{ toJson .slot }}{{- else if .slot -}}{{ toJson (list .slot) }}{{- else -}}[]{{- end -}}
{{- end }}

{{/*
The worker pools, in JSON by the slot type's label: its name as autoscaler.config.pool_name has it, and the units of a
fraction, 0 for a profile.
*/}}
{{- define "vgpu-serve.pools" -}}
{{- $pools := dict -}}
{{- range $name, $model := .Values.models -}}
{{- if kindIs "map" $model -}}
{{- range include "vgpu-serve.slotTexts" $model | fromJsonArray -}}
{{- with include "vgpu-serve.slotLabel" . -}}
{{- $units := ternary (trimPrefix "fraction-" .) "0" (hasPrefix "fraction-" .) -}}
{{- $_ := set $pools . (dict "name" (printf "workers-%s" (lower .)) "units" $units) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $pools -}}
{{- end }}
