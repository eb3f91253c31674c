{{/* The Pod of either workload. */}}
{{- define "postern.pod" -}}
metadata:
  labels:
    {{- include "postern.labels" . | nindent 4 }}
    app.kubernetes.io/component: relay
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # Settings are read at the start. Tables, secrets and certificates are taken over while the relay runs: not here.
    checksum/settings: {{ include (print $.Template.BasePath "/settings.yaml") . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "postern.serviceAccount" . }}
  automountServiceAccountToken: false
  # A Service's variables, such as POSTERN_SMTP_PORT, are nothing that the relay needs.
  enableServiceLinks: false
  {{- if not .Values.hostUsers }}
  hostUsers: false
  {{- end }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ include "postern.graceSeconds" . }}
  securityContext:
    {{- if not (include "postern.root" .) }}
    runAsNonRoot: true
    {{- with include "postern.uid" . }}
    fsGroup: {{ . }}
    {{- end }}
    # At each start Kubernetes would go through the queue, file by file, and a long one would have to wait for it.
    fsGroupChangePolicy: OnRootMismatch
    {{- end }}
    seccompProfile:
      type: RuntimeDefault
  {{- with .Values.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: postern
      {{- include "postern.container" . | nindent 6 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "postern.volumes" . | nindent 4 }}
  {{- with .Values.topologySpread }}
  topologySpreadConstraints:
    {{- range . }}
    - {{- toYaml . | nindent 6 }}
      labelSelector:
        matchLabels:
          {{- include "postern.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- range $field := list "nodeSelector" "tolerations" "affinity" }}
  {{- with get $.Values $field }}
  {{ $field }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end }}
