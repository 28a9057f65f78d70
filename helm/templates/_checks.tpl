{{/*
What the schema cannot say, because it takes several values at once. All problems are named together, each with its
place and the remedy. What takes the code's own knowledge (boards, parameters, weights) is left to the models check.
*/}}
{{- define "vgpu-serve.check" -}}
{{- $problems := concat
      (include "vgpu-serve.modelProblems" . | fromJsonArray)
      (include "vgpu-serve.tenantProblems" . | fromJsonArray)
      (include "vgpu-serve.networkProblems" . | fromJsonArray)
      (include "vgpu-serve.switcherProblems" . | fromJsonArray) -}}
{{- if $problems -}}
{{- fail (printf "\n%s\n" (join "\n" $problems)) -}}
{{- end -}}
{{- end }}

{{- define "vgpu-serve.modelProblems" -}}
{{- $problems := list -}}
{{- $fractions := list -}}
{{- if not .Values.models -}}
{{- $problems = append $problems "models: empty; name at least one model, or uninstall the release" -}}
{{- end -}}
{{- range $name, $model := .Values.models -}}
{{- if not (kindIs "map" $model) -}}
{{- $problems = append $problems (printf "models.%s: no mapping; give it source, slot and objective_p95_ms" $name) -}}
{{- else -}}
{{- $texts := include "vgpu-serve.slotTexts" $model | fromJsonArray -}}
{{- if not $texts -}}
{{- $problems = append $problems (printf "models.%s.slot: missing; name a slot type such as v100-8q-8GB or fraction:500" $name) -}}
{{- end -}}
{{- range $text := $texts -}}
{{- $label := include "vgpu-serve.slotLabel" $text -}}
{{- if not $label -}}
{{- $problems = append $problems (printf "models.%s.slot: %q is no slot type; write a profile such as v100-8q-8GB, or fraction:1 to fraction:1000" $name ($text | toString)) -}}
{{- else -}}
{{- if hasPrefix "fraction-" $label -}}
{{- $fractions = append $fractions $name -}}
{{- end -}}
{{- $drain := (include "vgpu-serve.workerSettings" (dict "root" $ "label" $label) | fromJson).drainTimeoutSeconds | int -}}
{{- $longest := dig "serving" "max_deadline_ms" 10000 $model | int -}}
{{- /* A replica stops 5 s after its longest request, and HAProxy sends it some for 5 s more. */ -}}
{{- $needed := add 10 (div (add $longest 999) 1000) | int -}}
{{- if gt $needed $drain -}}
{{- $problems = append $problems (printf "models.%s.serving.max_deadline_ms: a request may take %d ms, and a worker of %s that leaves waits %d s (workers.drainTimeoutSeconds); lower the deadline, or give %d there and %d or more for workers.terminationGracePeriodSeconds" $name $longest $label $drain $needed (add $needed 35)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $fractions (not (or (and .Values.extender.enabled .Values.scheduler.enabled) .Values.workers.schedulerName)) -}}
{{- $problems = append $problems (printf "models.%s.slot: asks for a fraction of a card, which the scheduler extender places; set extender.enabled and scheduler.enabled, or name in workers.schedulerName a scheduler that asks an extender" ($fractions | uniq | join ", models.")) -}}
{{- end -}}
{{- range $label, $_ := include "vgpu-serve.pools" . | fromJson -}}
{{- $worker := include "vgpu-serve.workerSettings" (dict "root" $ "label" $label) | fromJson -}}
{{- $drain := $worker.drainTimeoutSeconds | int -}}
{{- $grace := $worker.terminationGracePeriodSeconds | int -}}
{{- if lt $grace (add $drain 35 | int) -}}
{{- $problems = append $problems (printf "workers.terminationGracePeriodSeconds: %d s (slot type %s) end before a drain of %d s (workers.drainTimeoutSeconds) and Ray's own of 30 s are over; give %d or more" $grace $label $drain (add $drain 35)) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}

{{- define "vgpu-serve.tenantProblems" -}}
{{- $problems := list -}}
{{- $tenants := .Values.tenants | default dict -}}
{{- range $name, $model := .Values.models -}}
{{- if kindIs "map" $model -}}
{{- with $model.tenant -}}
{{- if not (hasKey $tenants .) -}}
{{- $problems = append $problems (printf "models.%s.tenant: %q is no tenant; name one of tenants (%s), or add it there" $name . (keys $tenants | sortAlpha | join ", " | default "none yet")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $tenant, $limit := $tenants -}}
{{- $sum := 0 -}}
{{- $mine := list -}}
{{- range $name, $model := $.Values.models -}}
{{- if and (kindIs "map" $model) (eq ($model.tenant | default "") $tenant) -}}
{{- $most := dig "autoscaling" "max_replicas" 1 $model | int -}}
{{- $sum = add $sum $most -}}
{{- $mine = append $mine (printf "%s %d" $name $most) -}}
{{- end -}}
{{- end -}}
{{- if and (kindIs "map" $limit) (hasKey $limit "max_slots") -}}
{{- if gt ($sum | int) ($limit.max_slots | int) -}}
{{- $problems = append $problems (printf "tenants.%s.max_slots: %d, and the max_replicas of its models add up to %d (%s); lower them, or raise max_slots" $tenant ($limit.max_slots | int) $sum (join ", " $mine)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $tenant, $quota := .Values.tenantQuotas -}}
{{- if not (hasKey $tenants $tenant) -}}
{{- $problems = append $problems (printf "tenantQuotas.%s: no such tenant; add it to tenants, or remove the quota" $tenant) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}

{{- define "vgpu-serve.networkProblems" -}}
{{- $problems := list -}}
{{- $fullname := include "vgpu-serve.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $fullname) -}}
{{- $problems = append $problems (printf "fullnameOverride: Services would be named after %s, and their names take a-z, 0-9 and -, a letter first; give such a name" $fullname) -}}
{{- end -}}
{{- $extender := .Values.extender -}}
{{- if and .Values.scheduler.enabled (not $extender.enabled) -}}
{{- $problems = append $problems "scheduler.enabled: there is no extender for it to ask; set extender.enabled, or turn the scheduler off" -}}
{{- end -}}
{{- if and $extender.enabled $extender.webhook.enabled -}}
{{- if not $extender.tls.enabled -}}
{{- $problems = append $problems "extender.webhook.enabled: the API server calls webhooks by HTTPS only; set extender.tls.enabled" -}}
{{- end -}}
{{- if and $extender.tls.existingSecret (not $extender.tls.caBundle) (not $extender.webhook.annotations) -}}
{{- $problems = append $problems "extender.tls.caBundle: empty, so the API server cannot trust extender.tls.existingSecret; give the PEM of who signed it, or an annotation in extender.webhook.annotations that has it injected" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.apiServerCIDRs) -}}
{{- $problems = append $problems "networkPolicy.apiServerCIDRs: empty, so the API server cannot reach the webhook; name its addresses, such as 10.0.0.0/28" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- $problems = append $problems "podMonitor.enabled: serviceMonitor.enabled too, and every target would be scraped twice; keep one" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}
