{{- /* The volumes of a service and where they are mounted. */ -}}
{{- define "runmesh.volumes" -}}
{{- $values := .root.Values -}}
{{- $service := .service -}}
{{- $jobs := include "runmesh.inCluster" $service -}}
{{- $volumes := list (dict "name" "state" "emptyDir" dict) (dict "name" "tmp" "emptyDir" dict) -}}
{{- $mounts := list (dict "name" "state" "mountPath" "/var/lib/runmesh") (dict "name" "tmp" "mountPath" "/tmp") -}}
{{- $secret := include "runmesh.natsSecret" . -}}
{{- if and $secret (has $values.nats.auth (list "nkey" "credentials")) -}}
{{- $volumes = append $volumes (dict "name" "nats" "secret" (dict "secretName" $secret "defaultMode" 288)) -}}
{{- $mounts = append $mounts (dict "name" "nats" "mountPath" "/etc/runmesh/nats" "readOnly" true) -}}
{{- end -}}
{{- with $values.nats.tls.existingSecret -}}
{{- $volumes = append $volumes (dict "name" "tls" "secret" (dict "secretName" . "defaultMode" 288)) -}}
{{- $mounts = append $mounts (dict "name" "tls" "mountPath" "/etc/runmesh/tls" "readOnly" true) -}}
{{- end -}}
{{- if and $values.policy (eq $service.kind "resolver") -}}
{{- $name := printf "%s-policy" (include "runmesh.fullname" .root) -}}
{{- $volumes = append $volumes (dict "name" "policy" "configMap" (dict "name" $name)) -}}
{{- $mounts = append $mounts (dict "name" "policy" "mountPath" "/etc/runmesh/policy" "readOnly" true) -}}
{{- end -}}
{{- with $values.projects.existingClaim -}}
{{- if or $jobs (eq $service.kind "resolver") (eq ($service.type | default "") "pyspark") -}}
{{- $claim := dict "claimName" . "readOnly" true -}}
{{- $volumes = append $volumes (dict "name" "projects" "persistentVolumeClaim" $claim) -}}
{{- $mounts = append $mounts (dict "name" "projects" "mountPath" $values.projects.path "readOnly" true) -}}
{{- end -}}
{{- end -}}
{{- with $values.variables.existingClaim -}}
{{- if $jobs -}}
{{- $volumes = append $volumes (dict "name" "variables" "persistentVolumeClaim" (dict "claimName" .)) -}}
{{- $mounts = append $mounts (dict "name" "variables" "mountPath" $values.variables.path) -}}
{{- end -}}
{{- end -}}
{{- $volumes = concat $volumes ($service.volumes | default list) -}}
{{- $mounts = concat $mounts ($service.volumeMounts | default list) -}}
{{- dict "volumes" $volumes "mounts" $mounts | toJson -}}
{{- end -}}
