{{- /*
Every service of this release: the resolver and the executors, each as its values say, with its name, kind and command.
What each of them has (a Deployment, an account, a budget, a policy) is made by a range over this list.
*/ -}}
{{- define "runmesh.services" -}}
{{- $services := list -}}
{{- if .Values.resolver.enabled -}}
{{- $own := dict "name" "resolver" "kind" "resolver" "command" (list "runmesh" "resolver") -}}
{{- $services = append $services (merge $own .Values.resolver) -}}
{{- end -}}
{{- range (include "runmesh.executors" . | fromJson).executors -}}
{{- $services = append $services . -}}
{{- end -}}
{{- dict "services" $services | toJson -}}
{{- end -}}

{{- /*
The executors alone. Local jobs would else be as many as the node has cores, whatever the pod may use; and a pod that asks for
nothing is the first to be evicted.
*/ -}}
{{- define "runmesh.executors" -}}
{{- $executors := list -}}
{{- range $name, $executor := .Values.executors -}}
{{- $own := dict "name" $name "kind" "executor" "command" (list "runmesh" "executor" $executor.type) -}}
{{- $_ := set $own "pool" ($executor.pool | default "default") -}}
{{- if eq $executor.type "local_python" -}}
{{- $_ := set $own "slots" ($executor.slots | default 4) -}}
{{- end -}}
{{- if not $executor.resources -}}
{{- $_ := set $own "resources" (dict "requests" (dict "cpu" "100m" "memory" "256Mi")) -}}
{{- end -}}
{{- $executors = append $executors (merge $own $executor) -}}
{{- end -}}
{{- dict "executors" $executors | toJson -}}
{{- end -}}

{{- /*
The Job that makes streams, consumers and buckets: it has a pod as the services have. It says how many copies our own cluster is
to have: asked before all of its servers are there, one would do, and would stay.
*/ -}}
{{- define "runmesh.provision" -}}
{{- $command := list "runmesh" "provision" -}}
{{- $cluster := dig "config" "cluster" dict .Values.nats -}}
{{- $three := and .Values.nats.enabled (not .Values.nats.url) $cluster.enabled (ge (int $cluster.replicas) 3) -}}
{{- with .Values.provision.replicas | default (ternary 3 nil $three) -}}
{{- $command = concat $command (list "--replicas" (toJson .)) -}}
{{- end -}}
{{- merge (dict "name" "provision" "kind" "provision" "command" $command) .Values.provision | toJson -}}
{{- end -}}

{{- /* All pools that anything here or elsewhere works for, separated by commas. */ -}}
{{- define "runmesh.pools" -}}
{{- $pools := concat (list "default") .Values.pools -}}
{{- range (include "runmesh.executors" . | fromJson).executors -}}
{{- $pools = append $pools .pool -}}
{{- end -}}
{{- $pools | uniq | sortAlpha | join "," -}}
{{- end -}}
