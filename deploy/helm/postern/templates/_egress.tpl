{{/* The ports that mail leaves by, as JSON: those of all next hops in the settings and tables. */}}
{{- define "postern.upstreamPorts" -}}
{{- $settings := .Values.settings }}
{{- $hops := list }}
{{- with $settings.RELAYHOST }}{{ $hops = append $hops . }}{{ end }}
{{- $everybody := not (empty $settings.RELAYHOST) }}
{{- range include "postern.lines" (list $ "UPSTREAMS") | fromJsonArray }}
{{- $words := splitList " " . }}
{{- if eq (first $words) "*" }}{{ $everybody = true }}{{ end }}
{{- if gt (len $words) 1 }}{{ $hops = append $hops (index $words 1) }}{{ end }}
{{- end }}
{{- /* Direct delivery: to each recipient's own server. */}}
{{- if not $everybody }}{{ $hops = append $hops "mx" }}{{ end }}
{{- with $settings.RELAY_TRANSPORT }}
{{- $hops = concat $hops (include "postern.hops" . | fromJsonArray) }}
{{- end }}
{{- range $table := list "RELAY_DOMAINS" "TRANSPORT" }}
{{- range include "postern.lines" (list $ $table) | fromJsonArray }}
{{- $hops = concat $hops (include "postern.hops" . | fromJsonArray) }}
{{- end }}
{{- end }}
{{- $ports := $.Values.networkPolicy.upstreamPorts }}
{{- range $hops }}
{{- $port := regexFind ":[0-9]+$" (regexReplaceAll "\\[.*\\]" . "host") | trimPrefix ":" | default "25" }}
{{- $ports = append $ports (int64 $port) }}
{{- end }}
{{- range (list "SASL_LDAP_URL" "SASL_IMAP_HOST" "SASL_SQL_URL" "SASL_DOVECOT_PATH") }}
{{- with get $settings . }}{{ $ports = concat $ports (include "postern.serverPorts" . | fromJsonArray) }}{{ end }}
{{- end }}
{{- $sorted := list }}
{{- range $ports }}{{ $sorted = append $sorted (printf "%05d" (int64 .)) }}{{ end }}
{{- $ports = list }}
{{- range $sorted | uniq | sortAlpha }}{{ $ports = append $ports (regexReplaceAll "^0+" . "" | int64) }}{{ end }}
{{- toJson $ports }}
{{- end }}

{{/* A table's entries, from /config or from the setting: words with one space between, without comments. */}}
{{- define "postern.lines" -}}
{{- $values := (first .).Values }}
{{- $name := last . }}
{{- $lines := list }}
{{- $text := get $values.settings $name | default (get $values.tables (lower $name)) | default "" | trim }}
{{- range splitList "\n" (contains "\n" $text | ternary $text (replace ";" "\n" $text)) }}
{{- $line := regexReplaceAll "\\s+" . " " | trim }}
{{- if and $line (not (hasPrefix "#" $line)) }}{{ $lines = append $lines $line }}{{ end }}
{{- end }}
{{- toJson $lines }}
{{- end }}

{{/* Of `example.com smtp:[a]:25, [b]:26`, the hosts. What ends a message's way has none, nor has a domain alone. */}}
{{- define "postern.hops" -}}
{{- $hops := list }}
{{- range splitList " " (regexReplaceAll "(^|\\s)(error|retry|discard):.*" (replace "," " " .) "") }}
{{- $hop := regexReplaceAll "^(smtp|smtps|relay):" . "" }}
{{- if eq . "smtp:" "relay:" "smtps:" }}{{ $hops = append $hops "mx" }}
{{- else if and (or (contains "[" .) (contains ":" .)) $hop }}{{ $hops = append $hops $hop }}{{ end }}
{{- end }}
{{- toJson $hops }}
{{- end }}

{{/* Of what checks logins, by the setting's value. */}}
{{- define "postern.serverPorts" -}}
{{- $given := regexReplaceAll "\\[.*\\]" . "host" | trimSuffix "/" }}
{{- $port := regexFind ":[0-9]+(/|$)" $given | trimAll ":/" }}
{{- $ports := list }}
{{- if $port }}{{ $ports = append $ports (int64 $port) }}
{{- else if or (hasPrefix "unix:" $given) (hasPrefix "ldapi:" $given) }}
{{- else if hasPrefix "ldaps:" $given }}{{ $ports = append $ports 636 }}
{{- else if hasPrefix "ldap:" $given }}{{ $ports = append $ports 389 }}
{{- else if hasPrefix "postgres" $given }}{{ $ports = append $ports 5432 }}
{{- else if or (hasPrefix "mysql:" $given) (hasPrefix "mariadb:" $given) }}{{ $ports = append $ports 3306 }}
{{- else }}{{ $ports = append $ports 993 }}
{{- end }}
{{- toJson $ports }}
{{- end }}
