{{- /* What a service finds in its environment: what the chart knows, what `settings` say, and last what `env` says. */ -}}
{{- define "runmesh.env" -}}
{{- $values := .root.Values -}}
{{- $service := .service -}}
{{- $env := dict "RUNMESH_NATS_URL" (include "runmesh.natsUrl" .root) "RUNMESH_STATE_DIR" "/var/lib/runmesh" -}}
{{- $_ := set $env "HOME" "/var/lib/runmesh" -}}
{{- if eq $service.kind "provision" -}}
{{- $_ := set $env "RUNMESH_POOLS" (include "runmesh.pools" .root) -}}
{{- else -}}
{{- $_ := set $env "RUNMESH_HEALTH_PORT" "8080" -}}
{{- $_ := set $env "RUNMESH_PROJECTS_DIR" $values.projects.path -}}
{{- end -}}
{{- /* The resolver doesn't read what is there, but it tells the jobs where. */ -}}
{{- if and $values.variables.existingClaim (or (eq $service.kind "resolver") (include "runmesh.inCluster" $service)) -}}
{{- $_ := set $env "MAGE_DATA_DIR" $values.variables.path -}}
{{- end -}}
{{- if and $values.policy (eq $service.kind "resolver") -}}
{{- $_ := set $env "RUNMESH_POLICY" "/etc/runmesh/policy/policy.yaml" -}}
{{- end -}}
{{- with $service.pool -}}
{{- $_ := set $env "RUNMESH_POOL" . -}}
{{- end -}}
{{- with $service.slots -}}
{{- $_ := set $env "RUNMESH_SLOTS" (toJson .) -}}
{{- end -}}
{{- if eq ($service.type | default "") "k8s" -}}
{{- $_ := set $env "MAGE_CONTAINER_NAME" "runmesh" -}}
{{- with $service.namespaces -}}
{{- $_ := set $env "RUNMESH_K8S_NAMESPACES" (join "," .) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := include "runmesh.settings" . | fromJson -}}
{{- $_ := set $env (printf "RUNMESH_%s" (upper $name)) $value -}}
{{- end -}}
{{- range $name, $value := $service.env -}}
{{- $_ := set $env $name $value -}}
{{- end -}}
{{- range $name, $value := $env }}
- {name: {{ $name | quote }}, value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}}
{{- end }}
{{- include "runmesh.login" . }}
{{- end -}}

{{- /* The settings of all, and over them those of the service (`merge` would take a false for none). */ -}}
{{- define "runmesh.settings" -}}
{{- $settings := deepCopy .root.Values.settings -}}
{{- range $name, $value := .service.settings -}}
{{- $_ := set $settings $name $value -}}
{{- end -}}
{{- toJson $settings -}}
{{- end -}}

{{- /* Whether the jobs of this service are in this cluster, and share its volumes. */ -}}
{{- define "runmesh.inCluster" -}}
{{- has .type (list "local_python" "k8s") | ternary "yes" "" -}}
{{- end -}}
