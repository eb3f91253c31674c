{{- define "postern.mounts" -}}
- name: spool
  mountPath: /var/spool/postfix
- name: data
  mountPath: /var/lib/postern
- name: run
  mountPath: /run
{{- if or .Values.tables .Values.tls.sni }}
- name: config
  mountPath: /config
  readOnly: true
{{- end }}
{{- if .Values.secrets.existingSecret }}
- name: secrets
  mountPath: /secrets
  readOnly: true
{{- end }}
{{- if include "postern.certificate" . }}
- name: certificate
  mountPath: /certificates
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Of a StatefulSet, `spool` and `data` are claims. */}}
{{- define "postern.volumes" -}}
{{- if eq .Values.workload "Deployment" -}}
- name: spool
  emptyDir: {}
- name: data
  emptyDir: {}
{{ end -}}
- name: run
  emptyDir:
    medium: Memory
    sizeLimit: 64Mi
{{- if or .Values.tables .Values.tls.sni }}
- name: config
  projected:
    # Certificates' keys are among it. The relay reads it as root, or as the fsGroup, to which Kubernetes opens it.
    defaultMode: 0400
    sources:
      {{- if .Values.tables }}
      - configMap:
          name: {{ include "postern.fullname" . }}-tables
      {{- end }}
      {{- range $host, $secret := .Values.tls.sni }}
      - secret:
          name: {{ $secret }}
          items:
            - key: tls.crt
              path: certificates/{{ $host }}/tls.crt
            - key: tls.key
              path: certificates/{{ $host }}/tls.key
      {{- end }}
{{- end }}
{{- with .Values.secrets.existingSecret }}
- name: secrets
  secret:
    secretName: {{ . }}
    defaultMode: 0400
{{- end }}
{{- with include "postern.certificate" . }}
- name: certificate
  secret:
    secretName: {{ . }}
    defaultMode: 0400
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "postern.claim" -}}
{{- $given := last . -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ first . }}
spec:
  accessModes:
    {{- toYaml $given.accessModes | nindent 4 }}
  {{- with $given.storageClass }}
  storageClassName: {{ eq . "-" | ternary "" . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ $given.size }}
{{- end }}
