{{- define "postern.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 46 | trimSuffix "-" }}
{{- end }}

{{/* Services add a listener's name of at most 15 characters to it, and end at 63. */}}
{{- define "postern.fullname" -}}
{{- $name := include "postern.name" . }}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $both | trunc 46 | trimSuffix "-" }}
{{- end }}

{{/* Only what never changes: a StatefulSet's selector cannot. */}}
{{- define "postern.selector" -}}
app.kubernetes.io/name: {{ include "postern.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: relay
{{- end }}

{{- define "postern.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "postern.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Of the objects that belong to the relay itself. */}}
{{- define "postern.metadata" -}}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "postern.labels" . | nindent 2 }}
  app.kubernetes.io/component: relay
{{- end }}

{{- define "postern.image" -}}
{{- with .Values.image }}
{{- .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{- define "postern.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "postern.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* A setting as the relay reads it. Numbers come from YAML as 1e+07 otherwise, and `yes` as true. */}}
{{- define "postern.text" -}}
{{- if kindIs "bool" . }}{{ ternary "yes" "no" . }}
{{- else if kindIs "string" . }}{{ . }}
{{- else }}{{ int64 . }}
{{- end }}
{{- end }}

{{- define "postern.certificate" -}}
{{- if .Values.tls.certManager.enabled }}{{ include "postern.fullname" . }}-tls{{ else }}{{ .Values.tls.existingSecret }}{{ end }}
{{- end }}

{{/* The name of the listener that `helm test` sends through; empty if all of them want the PROXY protocol. */}}
{{- define "postern.tested" -}}
{{- $names := list }}
{{- range .Values.listeners }}
{{- if and (not .proxyProtocol) (or (not $.Values.test.listener) (eq .name $.Values.test.listener)) }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
{{- if and .Values.test.listener (not $names) }}
{{- fail (printf "test.listener: there is no listener %s that a Pod could use" .Values.test.listener) }}
{{- end }}
{{- with $names }}{{ first . }}{{ end }}
{{- end }}

{{- define "postern.testSelector" -}}
app.kubernetes.io/name: {{ include "postern.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end }}

{{/* What the processor is asked for follows from who goes by it, unless it is given. */}}
{{- define "postern.resources" -}}
{{- $scaled := and .Values.autoscaling.enabled (eq .Values.autoscaling.metric "cpu") }}
{{- merge (deepCopy .Values.resources) (dict "requests" (dict "cpu" (ternary "500m" "50m" $scaled))) | toYaml }}
{{- end }}

{{- define "postern.healthPort" -}}
{{- include "postern.text" (.Values.settings.HEALTH_PORT | default 9154) }}
{{- end }}

{{/* Not empty if the relay is root. */}}
{{- define "postern.root" -}}
{{- if eq (toString .Values.runAsUser) "0" }}yes{{ end }}
{{- end }}

{{/* Empty if it is the image or the cluster that says who the relay runs as. */}}
{{- define "postern.uid" -}}
{{- if kindIs "string" .Values.runAsUser }}
{{- else if not (include "postern.root" .) }}{{ int64 .Values.runAsUser }}
{{- end }}
{{- end }}

{{/* What the relay listens on for a door. Below 1024 only root may. */}}
{{- define "postern.port" -}}
{{- $door := last . }}
{{- $port := $door.containerPort | default $door.port | int64 }}
{{- if or (ge $port 1024) (include "postern.root" (first .)) }}{{ $port }}
{{- else if $door.containerPort }}
{{- fail (printf "listeners: %s: containerPort %d is root's alone, and runAsUser is not 0: without it the relay listens on %d" $door.name $port (add 10000 $port)) }}
{{- else }}{{ add 10000 $port }}
{{- end }}
{{- end }}

{{/* LISTEN: what the Services lead to. */}}
{{- define "postern.listen" -}}
{{- $names := dict }}
{{- $ports := dict (include "postern.healthPort" .) "the health port" }}
{{- if and (lt (include "postern.healthPort" . | int) 1024) (not (include "postern.root" .)) }}
{{- fail (printf "settings.HEALTH_PORT %s is root's alone, and runAsUser is not 0: choose one above 1023" (include "postern.healthPort" .)) }}
{{- end }}
{{- range $at, $door := .Values.listeners }}
{{- $port := include "postern.port" (list $ $door) }}
{{- with get $ports $port }}
{{- fail (printf "listeners: %s: containerPort %s is that of %s, too" $door.name $port .) }}
{{- end }}
{{- if hasKey $names $door.name }}
{{- fail (printf "listeners: %s: there are two of this name" $door.name) }}
{{- end }}
{{- $_ := set $names $door.name true }}
{{- $_ := set $ports $port $door.name }}
{{- if and $door.proxyProtocol (eq $door.profile "relay") }}
{{- fail (printf "listeners: %s: proxyProtocol is not for the profile relay: whoever connects could claim the address of a trusted client" $door.name) }}
{{- end }}
{{- if $at }} {{ end }}{{ $port }}:{{ $door.profile }}{{ if $door.proxyProtocol }}:haproxy{{ end }}
{{- end }}
{{- end }}

{{/* How long the relay takes to stop, in seconds: 5m is 300. */}}
{{- define "postern.drainSeconds" -}}
{{- $given := .Values.settings.DRAIN_TIMEOUT | default "7s" }}
{{- $unit := dict "s" 1 "m" 60 "h" 3600 "d" 86400 "w" 604800 }}
{{- /* Without the zeros before it: 010 would be read as octal. */}}
{{- mul (regexFind "[1-9][0-9]*" $given | default "0" | int64) (get $unit (trunc -1 $given)) }}
{{- end }}

{{/* What kills the Pod waits for the Services, the drain, and the 3 s that the relay needs after it. */}}
{{- define "postern.graceSeconds" -}}
{{- add .Values.preStopSeconds (include "postern.drainSeconds" . | int64) 3 }}
{{- end }}
