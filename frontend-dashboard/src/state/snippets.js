/** What to paste into an agent so that its samples arrive here. Pure: origin and key come in. */

import { firstSampleBase64 } from "../api/remote_write.js";

export const KEY_PLACEHOLDER = "coh_live_…";
const WRITE_PATH = "/api/data-ingest-service/api/v1/write";

export function writeUrl(origin) {
  return `${origin}${WRITE_PATH}`;
}

export function prometheusSnippet(origin, key) {
  return `# prometheus.yml
remote_write:
  - url: ${writeUrl(origin)}
    authorization:
      credentials: ${key}`;
}

export function otelSnippet(origin, key) {
  return `# OpenTelemetry Collector (the contrib build has this exporter)
exporters:
  prometheusremotewrite:
    endpoint: ${writeUrl(origin)}
    headers:
      Authorization: Bearer ${key}

service:
  pipelines:
    metrics:
      receivers: [otlp]          # the receivers you have
      exporters: [prometheusremotewrite]`;
}

export function telegrafSnippet(origin, key) {
  return `# telegraf.conf
[[outputs.http]]
  url = "${writeUrl(origin)}"
  data_format = "prometheusremotewrite"
  non_retryable_statuscodes = [400, 401, 403, 404, 413, 415]
  [outputs.http.headers]
    Content-Type = "application/x-protobuf"
    Content-Encoding = "snappy"
    X-Prometheus-Remote-Write-Version = "0.1.0"
    Authorization = "Bearer ${key}"`;
}

export const CURL_METRIC = "hello_cloudopshub";

/** One sample by curl: the body is a whole remote_write request, already in protobuf and snappy. */
export function curlSnippet(origin, key, nowMs) {
  const body = firstSampleBase64({ __name__: CURL_METRIC, source: "curl" }, 1, nowMs);
  return `echo '${body}' \\
  | base64 -d \\
  | curl -sS -f -o /dev/null -w '%{http_code}\\n' --data-binary @- \\
    -H 'Authorization: Bearer ${key}' \\
    -H 'Content-Type: application/x-protobuf' -H 'Content-Encoding: snappy' \\
    -H 'X-Prometheus-Remote-Write-Version: 0.1.0' \\
    ${writeUrl(origin)}`;
}

export function grafanaSnippet(origin, key) {
  return `# provisioning/datasources/cloudopshub.yaml
apiVersion: 1
datasources:
  - name: CloudOpsHub
    type: prometheus
    url: ${origin}/api/data-api-service
    jsonData:
      httpMethod: POST
      httpHeaderName1: Authorization
    secureJsonData:
      httpHeaderValue1: Bearer ${key}`;
}
