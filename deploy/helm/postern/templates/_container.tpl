{{- define "postern.container" -}}
image: {{ include "postern.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
envFrom:
  - configMapRef:
      name: {{ include "postern.fullname" . }}-settings
{{- with .Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  {{- range .Values.listeners }}
  - name: {{ .name }}
    containerPort: {{ include "postern.port" (list $ .) }}
  {{- end }}
  - name: health
    containerPort: {{ include "postern.healthPort" . }}
startupProbe:
  {{- include "postern.probe" (list . "/livez" .Values.probes.startup) | nindent 2 }}
livenessProbe:
  {{- include "postern.probe" (list . "/livez" .Values.probes.liveness) | nindent 2 }}
readinessProbe:
  {{- include "postern.probe" (list . "/readyz" .Values.probes.readiness) | nindent 2 }}
{{- if .Values.preStopSeconds }}
lifecycle:
  preStop:
    exec:
      command: [sleep, {{ .Values.preStopSeconds | quote }}]
{{- end }}
resources:
  {{- include "postern.resources" . | nindent 2 }}
securityContext:
  {{- with include "postern.uid" . }}
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  {{- end }}
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  privileged: false
  capabilities:
    drop: [ALL]
    {{- if include "postern.root" . }}
    add:
      # The relay's README says what each is for.
      - SETUID
      - SETGID
      - DAC_OVERRIDE
      - CHOWN
      - KILL
      {{- if include "postern.privilegedPorts" . }}
      - NET_BIND_SERVICE
      {{- end }}
    {{- end }}
  seccompProfile:
    type: RuntimeDefault
volumeMounts:
  {{- include "postern.mounts" . | nindent 2 }}
{{- end }}

{{- define "postern.probe" -}}
{{- $root := first . -}}
httpGet:
  path: {{ index . 1 }}
  port: health
{{ toYaml (last .) }}
{{- end }}

{{/* Not empty if a door needs a capability. */}}
{{- define "postern.privilegedPorts" -}}
{{- range .Values.listeners }}
{{- if lt (include "postern.port" (list $ .) | int) 1024 }}{{ .name }}{{ end }}
{{- end }}
{{- end }}
