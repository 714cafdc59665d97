{{- /*
What a service connects to NATS with. A password or a token is a variable; what is a file is mounted, and a variable says where:
that is how a worker knows what its Kubernetes Jobs must not inherit.
*/ -}}
{{- define "runmesh.login" -}}
{{- $nats := .root.Values.nats -}}
{{- $secret := include "runmesh.natsSecret" . -}}
{{- if eq $nats.auth "users" }}
{{- $user := include "runmesh.user" .service }}
{{- $variable := printf "RUNMESH_%s_PASSWORD" (regexReplaceAll "[^A-Z0-9]" (upper $user) "_") }}
- {name: RUNMESH_NATS_USER, value: {{ $user }}}
- {name: RUNMESH_NATS_PASSWORD, valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: {{ $variable }}}}}
- {name: RUNMESH_NATS_INBOX, value: _INBOX.{{ $user }}}
{{- else if $secret }}
{{- range ternary (list "user" "password") (list $nats.auth) (eq $nats.auth "user") }}
{{- if has . (list "nkey" "credentials") }}
- {name: RUNMESH_NATS_{{ upper . }}, value: /etc/runmesh/nats/{{ . }}}
{{- else }}
- {name: RUNMESH_NATS_{{ upper . }}, valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: {{ . }}}}}
{{- end }}
{{- end }}
- {name: RUNMESH_NATS_INBOX, valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: inbox, optional: true}}}
{{- end }}
{{- if $nats.tls.existingSecret }}
- {name: RUNMESH_NATS_CA, value: /etc/runmesh/tls/ca.crt}
{{- if $nats.tls.mutual }}
- {name: RUNMESH_NATS_CERTIFICATE, value: /etc/runmesh/tls/tls.crt}
- {name: RUNMESH_NATS_KEY, value: /etc/runmesh/tls/tls.key}
{{- end }}
{{- end }}
{{- end -}}

{{- define "runmesh.natsSecret" -}}
{{- $secret := .service.natsSecret | default .root.Values.nats.existingSecret -}}
{{- if and (eq .root.Values.nats.auth "users") (not $secret) -}}
{{- fail "nats.existingSecret: with `auth: users` it holds the passwords" -}}
{{- end -}}
{{- $secret -}}
{{- end -}}

{{- /* The user that docs/security.md has for a service. */ -}}
{{- define "runmesh.user" -}}
{{- if eq .kind "executor" -}}
{{- printf "worker-%s" .type }}{{ ternary "" (printf "-%s" .pool) (eq .pool "default") -}}
{{- else -}}
{{- ternary "provisioner" .kind (eq .kind "provision") -}}
{{- end -}}
{{- end -}}
