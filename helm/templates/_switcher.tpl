{{/* Where Secrets of `switcher.credentials` are mounted, each in a folder of its name. */}}
{{- define "vgpu-serve.credentials" -}}/etc/vgpu-serve/credentials{{- end }}

{{- define "vgpu-serve.switcherEnvironment" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: HOME
  value: /tmp
{{- end }}

{{/* Names of the nodes that are guests of any layout, in JSON. */}}
{{- define "vgpu-serve.switchedNodes" -}}
{{- $nodes := list -}}
{{- range $layout := .Values.switcher.config.layouts | default dict -}}
{{- range $guests := $layout | default dict -}}
{{- range $guests -}}
{{- if kindIs "map" . -}}
{{- $nodes = append $nodes .node -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $nodes | uniq | sortAlpha | toJson -}}
{{- end }}

{{/*
The switcher's settings with the affinity that keeps it off the nodes it switches, in JSON: on one of them it would wait
for its own pod to leave, and nobody would start the node it could go to. A nodeAffinity of the values stands instead.
*/}}
{{- define "vgpu-serve.switcherPlacing" -}}
{{- $settings := deepCopy .Values.switcher -}}
{{- $fields := list -}}
{{- range include "vgpu-serve.switchedNodes" . | fromJsonArray -}}
{{- $fields = append $fields (dict "key" "metadata.name" "operator" "NotIn" "values" (list .)) -}}
{{- end -}}
{{- if $fields -}}
{{- $terms := list (dict "matchFields" $fields) -}}
{{- $off := dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) -}}
{{- if not ($settings.affinity | default dict).nodeAffinity -}}
{{- $_ := set $settings "affinity" (merge (dict "nodeAffinity" $off) ($settings.affinity | default dict)) -}}
{{- end -}}
{{- end -}}
{{- toJson $settings -}}
{{- end }}

{{/* What the schema cannot say of the switcher, each problem with its remedy, in JSON. */}}
{{- define "vgpu-serve.switcherProblems" -}}
{{- $problems := list -}}
{{- with .Values.switcher -}}
{{- if .enabled -}}
{{- range $key := list "gpus" "layouts" "providers" -}}
{{- if not (get $.Values.switcher.config $key) -}}
{{- $problems = append $problems (printf "switcher.config.%s: missing; docs/switching.md shows a whole file, or turn switcher.enabled off" $key) -}}
{{- end -}}
{{- end -}}
{{- $names := keys .credentials | sortAlpha -}}
{{- range $provider, $settings := .config.providers | default dict -}}
{{- if kindIs "map" $settings -}}
{{- range $key, $value := $settings -}}
{{- $place := printf "switcher.config.providers.%s.%s" $provider $key -}}
{{- $problems = concat $problems (include "vgpu-serve.credentialProblems" (dict "root" $ "place" $place "key" $key "value" $value "names" $names) | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}

{{/* What is wrong with one key of a provider, as far as it holds a credential or says where one lies. */}}
{{- define "vgpu-serve.credentialProblems" -}}
{{- $problems := list -}}
{{- $folder := include "vgpu-serve.credentials" . -}}
{{- $text := .value | toString -}}
{{- $places := dict -}}
{{- if has .key (list "password" "token" "user" "username") -}}
{{- $problems = append $problems (printf "%s: values are no place for credentials; put it into a Secret, name that in switcher.credentials.NAME.secretName, and give %s_file: %s/NAME/%s" .place .key $folder .key) -}}
{{- else if hasSuffix "_file" .key -}}
{{- $_ := set $places .place $text -}}
{{- else if eq .key "uri" -}}
{{- if regexMatch "^[^/]*://[^/@]*:[^/@]*@" $text -}}
{{- $problems = append $problems (printf "%s: has a password in it, and values are no place for credentials; use the certificates of a Secret: qemu+tls://HOST/system?pkipath=%s/NAME" .place $folder) -}}
{{- end -}}
{{- if and (regexMatch "^[^/]*[+]tls:" $text) (not (regexMatch "[?&]pkipath=" $text)) -}}
{{- $problems = append $problems (printf "%s: names no certificates, and the image has none; put cacert.pem, clientcert.pem and clientkey.pem into a Secret, name that in switcher.credentials.NAME.secretName, and write ?pkipath=%s/NAME" .place $folder) -}}
{{- end -}}
{{- range regexFindAll "[?&](?:pkipath|keyfile|known_hosts|authfile)=[^&;]*" $text -1 -}}
{{- $_ := set $places (printf "%s, %s" $.place (regexFind "[a-z_]+" .)) (regexReplaceAll "^[^=]*=" . "") -}}
{{- end -}}
{{- end -}}
{{- range $place, $path := $places -}}
{{- $name := regexFind (printf "^%s/[^/]+" $folder) $path | trimPrefix (printf "%s/" $folder) -}}
{{- if or (not (has $name $.names)) (contains "/../" (printf "%s/" $path)) -}}
{{- $known := join ", " $.names | default "none yet" -}}
{{- $problems = append $problems (printf "%s: %s lies in none of switcher.credentials (%s); put the file into a Secret, name that in switcher.credentials.NAME.secretName, and write %s/NAME/KEY" $place $path $known $folder) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}
