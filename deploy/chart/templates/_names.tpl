{{- define "runmesh.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 32 | trimSuffix "-" -}}
{{- end -}}

{{- define "runmesh.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "runmesh.labels" -}}
{{ include "runmesh.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "runmesh.serviceAccount" -}}
{{- dig "serviceAccount" "name" "" .service | default (printf "%s-%s" (include "runmesh.fullname" .root) .service.name) -}}
{{- end -}}

{{- /* The name of the official chart's Service, as that chart makes it. */ -}}
{{- define "runmesh.nats" -}}
{{- $name := .Values.nats.nameOverride | default "nats" -}}
{{- $own := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.nats.fullnameOverride | default $own | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "runmesh.natsUrl" -}}
{{- if .Values.nats.url -}}
{{- .Values.nats.url | nospace -}}
{{- else if .Values.nats.enabled -}}
{{- printf "nats://%s.%s:%v" (include "runmesh.nats" .) .Release.Namespace (dig "config" "nats" "port" 4222 .Values.nats) -}}
{{- else -}}
{{- fail "nats.url: say where NATS is, or set nats.enabled" -}}
{{- end -}}
{{- end -}}

{{- /* The ports of the servers, separated by blanks. */ -}}
{{- define "runmesh.natsPorts" -}}
{{- $ports := list -}}
{{- range splitList "," (include "runmesh.natsUrl" .) -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" (urlParse .).host | trimPrefix ":" | default "4222") -}}
{{- end -}}
{{- $ports | uniq | join " " -}}
{{- end -}}
