{{/* The name of everything here, and the name other services call. */}}
{{- define "service.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{/* What a selector holds. Immutable in a Deployment, so nothing of the image is in it. Call with (dict "root" $ "component" "web"). */}}
{{- define "service.selector" -}}
app.kubernetes.io/name: {{ include "service.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of an object. No version: a bump would change them, and nothing but the image may change. */}}
{{- define "service.labels" -}}
{{ include "service.selector" . }}
app.kubernetes.io/part-of: cloudopshub
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels of a pod: without the chart's version, or every new chart would restart everything. */}}
{{- define "service.podLabels" -}}
{{ include "service.selector" . }}
app.kubernetes.io/part-of: cloudopshub
{{- end -}}

{{/* Argo CD applies lower waves first: settings and secrets, then the migration, then what serves. */}}
{{- define "service.early" -}}
argocd.argoproj.io/sync-wave: "-2"
{{- end -}}

{{- define "service.image" -}}
{{ printf "%s:%s" .Values.image.repository .Values.image.tag | quote }}
{{- end -}}

{{- define "service.secretName" -}}
{{- default (printf "%s-secrets" (include "service.name" .)) .Values.secret.name -}}
{{- end -}}

{{- define "service.configName" -}}
{{- include "service.name" . }}-config
{{- end -}}

{{/* The variables of the ConfigMap: those of the environment that the service names, and its own. */}}
{{- define "service.config" -}}
{{- $all := dict -}}
{{- range $name := .Values.configFromEnvironment -}}
{{- if not (hasKey $.Values.environmentConfig $name) -}}
{{- fail (printf "%s reads %s, which environmentConfig does not have (environments/<environment>/common.yaml)" (include "service.name" $) $name) -}}
{{- end -}}
{{- $_ := set $all $name (index $.Values.environmentConfig $name) -}}
{{- end -}}
{{- toYaml (merge (deepCopy .Values.config) $all) -}}
{{- end -}}

{{/* Variables out of the Secret, one by one: a pod gets what it names and nothing else. */}}
{{- define "service.secretVariables" -}}
{{- $secret := include "service.secretName" . -}}
{{- range .Values.secret.keys }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ . }}}}
{{- end }}
{{- range .Values.secret.optionalKeys }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ . }}, optional: true}}
{{- end }}
{{- end -}}

{{/* What every pod has, whatever runs in it. */}}
{{- define "service.podBasics" -}}
serviceAccountName: {{ include "service.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false # no DATA_API_SERVICE_PORT=tcp://… among the variables
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .Values.runAsUser }}
  runAsGroup: {{ .Values.runAsGroup }}
  fsGroup: {{ .Values.runAsGroup }}
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
volumes: {{- include "service.volumes" . | trim | nindent 2 }}
{{- end -}}

{{- define "service.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "service.volumeName" -}}
{{- . | trimPrefix "/" | replace "/" "-" | replace "." "-" | replace "_" "-" | lower -}}
{{- end -}}

{{- define "service.volumes" -}}
{{- range $path, $size := .Values.writable }}
- name: {{ include "service.volumeName" $path }}
  emptyDir: {sizeLimit: {{ $size }}}
{{- end }}
{{- end -}}

{{- define "service.mounts" -}}
{{- range $path, $_ := .Values.writable }}
- name: {{ include "service.volumeName" $path }}
  mountPath: {{ $path }}
{{- end }}
{{- end -}}

{{/* Spread over zones, then over nodes. Call as service.selector. */}}
{{- define "service.spread" -}}
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  matchLabelKeys: [pod-template-hash] # a roll-out spreads its own pods, not old and new together
  labelSelector:
    matchLabels: {{- include "service.selector" . | nindent 6 }}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  matchLabelKeys: [pod-template-hash] # a roll-out spreads its own pods, not old and new together
  labelSelector:
    matchLabels: {{- include "service.selector" . | nindent 6 }}
{{- end -}}
