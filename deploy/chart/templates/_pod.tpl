{{- /*
The pod of a service, or of the Job that provisions: `root`, and the `service` with its name, kind, command and values.

Which volumes it has follows from its kind and type. Kubernetes Jobs take after the pod of their worker, so what is mounted
there is mounted at the same path in them: projects and variables are, and so are the empty directories, each pod's own.
*/ -}}
{{- define "runmesh.pod" -}}
{{- $values := .root.Values -}}
{{- $service := .service -}}
{{- $type := $service.type | default "" -}}
{{- $annotations := deepCopy ($service.podAnnotations | default dict) -}}
{{- if and $values.policy (eq $service.kind "resolver") -}}
{{- $_ := set $annotations "checksum/policy" ($values.policy | toJson | sha256sum) -}}
{{- end -}}
metadata:
  labels:
    {{- include "runmesh.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ $service.name | quote }}
    {{- with $service.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "runmesh.serviceAccount" . | quote }}
  automountServiceAccountToken: {{ eq $type "k8s" }}
  enableServiceLinks: false  # a Service named as this release would be variables that look like settings
  {{- if eq $type "local_python" }}
  shareProcessNamespace: true  # the pause container buries what jobs leave behind
  {{- end }}
  {{- $settings := include "runmesh.settings" . | fromJson }}
  terminationGracePeriodSeconds: {{ hasKey $settings "grace" | ternary $settings.grace 30 | ceil | add 30 }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  {{- with $service.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
  - name: runmesh
    {{- $image := merge (deepCopy ($service.image | default dict)) $values.image }}
    image: {{ printf "%s:%s" $image.repository ($image.tag | default .root.Chart.AppVersion) | quote }}
    imagePullPolicy: {{ $image.pullPolicy }}
    command: {{ toJson $service.command }}
    {{- if ne $service.kind "provision" }}
    ports:
    - {name: health, containerPort: 8080}
    # It listens at once, but to import an SDK takes long where the processor is slow.
    startupProbe: {httpGet: {path: /livez, port: health}, periodSeconds: 5, failureThreshold: 60}
    livenessProbe: {httpGet: {path: /livez, port: health}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
    readinessProbe: {httpGet: {path: /readyz, port: health}, periodSeconds: 5, timeoutSeconds: 5}
    {{- end }}
    env:
    {{- include "runmesh.env" . | trim | nindent 4 }}
    {{- range $field := list "envFrom" "resources" }}
    {{- with get $service $field }}
    {{ $field }}:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    {{- $volumes := include "runmesh.volumes" . | fromJson }}
    volumeMounts:
    {{- toYaml $volumes.mounts | nindent 4 }}
  volumes:
  {{- toYaml $volumes.volumes | nindent 2 }}
  {{- range $field := list "nodeSelector" "tolerations" "affinity" }}
  {{- with get $service $field }}
  {{ $field }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- if eq $service.kind "provision" }}
  restartPolicy: OnFailure
  {{- else }}
  topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "runmesh.selector" .root | nindent 8 }}
        app.kubernetes.io/component: {{ $service.name | quote }}
  {{- end }}
{{- end -}}
