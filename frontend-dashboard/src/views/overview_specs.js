/** What the Overview asks and how it draws it: the hub and its hosts. */

const NODE = 'job="node"';
const ROUTES = 'route!~"/health|/ready|/metrics"';
const REAL_FS = `${NODE},fstype!~"tmpfs|ramfs|overlay|squashfs|devtmpfs|efivarfs|autofs"`;
const CPU_S = "node_cpu_seconds_total";
const CPU_RATE = (matchers) => `sum by (instance) (rate(${CPU_S}{${NODE}${matchers}}[$__rate_interval]))`;
const BUSY = `1 - ${CPU_RATE(',mode="idle"')} / ${CPU_RATE("")}`;
const CPU_BY_MODE = `sum by (mode) (rate(${CPU_S}{${NODE},mode!="idle"}[$__rate_interval]))`;
const CPUS = `count(count by (instance, cpu) (${CPU_S}{${NODE}}))`;
const LATENCY_BUCKETS = `cloudopshub_http_request_duration_seconds_bucket{${ROUTES}}`;
const DISK_FREE = `node_filesystem_avail_bytes{${REAL_FS}} / node_filesystem_size_bytes{${REAL_FS}}`;
const BY_DEVICE = "sum by (instance, device)";
const WIRES = `${NODE},device!="lo"`;
const MEMORY_USED = `1 - node_memory_MemAvailable_bytes{${NODE}} / node_memory_MemTotal_bytes{${NODE}}`;

const REQUESTS = "cloudopshub_http_requests_total";
const FAILED = `${REQUESTS}{status=~"5.."}`;
// A counter is born with its first failure: it has no growth yet, its value is the growth. That of an instance which
// was not looked at a window ago is its past. Without requests there is no answer: nothing is known then.
const BORN = `(min_over_time(${FAILED}[$__rate_interval]) unless ${FAILED} offset $__rate_interval)`;
const BORN_HERE = `sum(${BORN} and on (job, instance) up offset $__rate_interval) / $__rate_interval_s`;
const NO_FAILURES = `0 * sum(rate(${REQUESTS}[$__rate_interval]))`;
const GROWN = `sum(rate(${FAILED}[$__rate_interval]))`;
export const FAILURES = `(${GROWN} or ${NO_FAILURES}) + (${BORN_HERE} or ${NO_FAILURES})`;

export const TILES = [
  { title: "CPU", query: BUSY, unit: "ratio", top: 1, warnAt: 0.8, badAt: 0.95, note: "of all cores", worst: true },
  {
    title: "Memory",
    query: MEMORY_USED,
    unit: "ratio",
    top: 1,
    warnAt: 0.85,
    badAt: 0.95,
    note: "in use",
    worst: true,
  },
  {
    title: "Fullest disk",
    query: `max by (instance, mountpoint) (1 - ${DISK_FREE})`,
    worst: true,
    unit: "ratio",
    top: 1,
    warnAt: 0.85,
    badAt: 0.95,
    note: "in use",
  },
  {
    title: "Ingest",
    query: 'sum(rate(cloudopshub_ingest_samples_total{outcome="accepted"}[$__rate_interval]))',
    unit: "none",
    note: "samples a second",
  },
  {
    title: "Requests",
    query: `sum(rate(cloudopshub_http_requests_total{${ROUTES}}[$__rate_interval]))`,
    unit: "per_second",
    note: "all services",
  },
  {
    title: "Failures",
    query: FAILURES,
    unit: "per_second",
    warnAt: 1e-9,
    badAt: 1,
    note: "answers 5xx",
  },
];

export const SECTIONS = [
  [
    "The hub",
    [
      {
        title: "Ingest",
        hint: "samples a second",
        queries: [{ query: "sum by (protocol, outcome) (rate(cloudopshub_ingest_samples_total[$__rate_interval]))" }],
        unit: "none",
        zeroBased: true,
        empty: "Samples that arrive are counted here.",
      },
      {
        title: "Requests",
        hint: "by service",
        queries: [{ query: `sum by (service) (rate(cloudopshub_http_requests_total{${ROUTES}}[$__rate_interval]))` }],
        unit: "per_second",
        zeroBased: true,
      },
      {
        title: "Latency",
        hint: "95 of 100 requests are faster",
        queries: [
          {
            query: `histogram_quantile(0.95, sum by (service, le) (rate(${LATENCY_BUCKETS}[$__rate_interval])))`,
          },
        ],
        unit: "seconds",
        zeroBased: true,
      },
      {
        title: "Memory of the services",
        hint: "resident",
        queries: [
          { query: "sum by (service) (cloudopshub_process_resident_memory_bytes)" },
          { query: 'sum by (job) (process_resident_memory_bytes{job!="node"})' },
        ],
        unit: "bytes",
        zeroBased: true,
        distinct: true,
      },
    ],
  ],
  [
    "The host",
    [
      {
        title: "CPU",
        hint: "by mode, all cores of all hosts = 100 %",
        queries: [
          {
            query: `${CPU_BY_MODE} / on () group_left () ${CPUS}`,
          },
        ],
        unit: "ratio",
        stacked: true,
        top: 1,
      },
      {
        title: "Memory",
        hint: "of all hosts together",
        queries: [
          { query: `sum(node_memory_MemTotal_bytes{${NODE}} - node_memory_MemAvailable_bytes{${NODE}})`, name: "used" },
          {
            query: `sum(node_memory_MemAvailable_bytes{${NODE}} - node_memory_MemFree_bytes{${NODE}})`,
            name: "cache, given back when asked for",
          },
          { query: `sum(node_memory_MemFree_bytes{${NODE}})`, name: "free" },
        ],
        unit: "bytes",
        stacked: true,
      },
      {
        title: "Load",
        hint: "runnable processes",
        queries: [
          { query: `node_load1{${NODE}}`, name: "1 min" },
          { query: `node_load5{${NODE}}`, name: "5 min" },
          { query: `node_load15{${NODE}}`, name: "15 min" },
        ],
        unit: "none",
        zeroBased: true,
      },
      {
        title: "Disk space",
        hint: "used, by mount",
        queries: [
          {
            query: `max by (instance, mountpoint) (1 - ${DISK_FREE})`,
          },
        ],
        unit: "ratio",
        zeroBased: true,
        top: 1,
      },
      {
        title: "Disk traffic",
        hint: "read above, written below",
        queries: [
          {
            query: `${BY_DEVICE} (rate(node_disk_read_bytes_total{${NODE}}[$__rate_interval]))`,
            name: "read",
          },
          {
            query: `${BY_DEVICE} (rate(node_disk_written_bytes_total{${NODE}}[$__rate_interval]))`,
            name: "written",
            negate: true,
          },
        ],
        unit: "bytes_per_s",
      },
      {
        title: "Network",
        hint: "received above, sent below",
        queries: [
          {
            query: `${BY_DEVICE} (rate(node_network_receive_bytes_total{${WIRES}}[$__rate_interval]))`,
            name: "received",
          },
          {
            query: `${BY_DEVICE} (rate(node_network_transmit_bytes_total{${WIRES}}[$__rate_interval]))`,
            name: "sent",
            negate: true,
          },
        ],
        unit: "bytes_per_s",
      },
    ],
  ],
];
