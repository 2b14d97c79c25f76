/**
 * Numbers as people read them: a unit is guessed from a metric's name, a value is printed in it. Pure.
 *
 * @typedef {"bytes"|"bytes_per_s"|"seconds"|"ratio"|"percent"|"per_second"|"bits_per_s"|"timestamp"|"celsius"|"none"}
 * Unit
 */

const IEC = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const SI = ["", "k", "M", "G", "T", "P", "E"];
const SMALL = ["", "m", "µ", "n"];

/** `value` with `digits` significant digits, without exponent and without trailing zeros. */
export function significant(value, digits = 3) {
  if (value === 0) return "0";
  const magnitude = Math.floor(Math.log10(Math.abs(value)));
  const decimals = Math.min(Math.max(digits - 1 - magnitude, 0), 12);
  const text = value.toFixed(decimals);
  return decimals > 0 ? text.replace(/\.?0+$/, "") : text;
}

function scaled(value, base, names) {
  let size = Math.abs(value);
  let step = 0;
  // 999.6 would print as "1000": go to the next name one half digit early.
  while (size >= base * 0.9995 && step < names.length - 1) {
    size /= base;
    step += 1;
  }
  return [Math.sign(value) * size, names[step]];
}

function bytes(value, digits = 3) {
  const [size, name] = scaled(value, 1024, IEC);
  return `${significant(size, digits)} ${name}`;
}

function plain(value, digits = 3) {
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) {
    let step = 0;
    let grown = value;
    while (Math.abs(grown) < 1 && step < SMALL.length - 1) {
      grown *= 1000;
      step += 1;
    }
    return Math.abs(grown) < 1 ? value.toExponential(digits - 2) : `${significant(grown, digits)}${SMALL[step]}`;
  }
  if (size < 10_000) return significant(value, Math.max(digits, 4));
  if (size >= 1e21) return value.toExponential(digits - 1);
  const [number, name] = scaled(value, 1000, SI);
  return `${significant(number, digits)}${name}`;
}

/** A length of time: `850 µs`, `1.2 s`, `3 min 20 s`, `4 d 3 h`. */
export function duration(seconds) {
  const size = Math.abs(seconds);
  const sign = seconds < 0 ? "-" : "";
  if (size === 0) return "0 s";
  if (size < 1e-6) return `${sign}${significant(size * 1e9)} ns`;
  if (size < 1e-3) return `${sign}${significant(size * 1e6)} µs`;
  if (size < 1) return `${sign}${significant(size * 1e3)} ms`;
  if (size < 60) return `${sign}${significant(size)} s`;
  const parts = [
    ["y", 31_536_000],
    ["d", 86_400],
    ["h", 3_600],
    ["min", 60],
    ["s", 1],
  ];
  let rest = Math.round(size);
  const first = parts.findIndex(([, length]) => rest >= length);
  const words = [];
  for (const [name, length] of parts.slice(first, first + 2)) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count > 0) words.push(`${count} ${name}`);
  }
  return sign + words.join(" ");
}

/**
 * `value` in `unit`, for a tooltip or a table. Missing values are a dash, infinities keep their sign.
 * @param {number|null|undefined} value
 * @param {Unit} unit
 * @param {number} [digits] significant ones; a length of time of more than three is told in seconds alone
 */
export function format(value, unit = "none", digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  switch (unit) {
    case "bytes":
      return bytes(value, digits);
    case "bytes_per_s":
      return `${bytes(value, digits)}/s`;
    case "bits_per_s":
      return `${plain(value, digits)}b/s`;
    case "seconds":
      return digits > 3 ? `${significant(value, digits)} s` : duration(value);
    case "ratio":
      return `${significant(value * 100, digits)} %`;
    case "percent":
      return `${significant(value, digits)} %`;
    case "per_second":
      return `${plain(value, digits)}/s`;
    case "celsius":
      return `${significant(value, digits)} °C`;
    case "timestamp":
      return new Date(value * 1000).toISOString().replace(".000Z", "Z");
    default:
      return plain(value, digits);
  }
}

/** Texts of a value axis with as many digits as it takes for no two different ticks to read alike. */
export function axisTexts(splits, unit) {
  const different = new Set(splits).size;
  for (let digits = 3; ; digits += 1) {
    const texts = splits.map((value) => format(value, unit, digits));
    if (digits === 15 || new Set(texts).size === different) return texts;
  }
}

const RATE = /\b(?:i?rate|deriv)\s*\(/;
const COUNT = /\bcount(?:_values|_over_time)?\s*(?:by\s*\([^)]*\)\s*|without\s*\([^)]*\)\s*)?\(/;
const NAME = /[a-zA-Z_:][a-zA-Z0-9_:]*/g;

/**
 * The unit of one metric: its metadata's unit when it has one, else its name's suffix (Prometheus naming practice).
 * @returns {Unit}
 */
export function unitOfMetric(name, declared = "") {
  const base = name.replace(/_(?:total|sum|created|min|max)$/, "");
  if (/_(?:count|bucket|info)$/.test(name)) return "none"; // a bucket counts; what it counts has the unit
  const said = declared.toLowerCase();
  if (said === "bytes" || base.endsWith("_bytes")) return "bytes";
  if (base.endsWith("_timestamp_seconds") || (base.endsWith("_time_seconds") && base.includes("start")))
    return "timestamp";
  if (said === "seconds" || base.endsWith("_seconds")) return "seconds";
  if (said === "ratio" || base.endsWith("_ratio")) return "ratio";
  if (base.endsWith("_percent")) return "percent";
  if (base.endsWith("_celsius")) return "celsius";
  return "none";
}

/**
 * The unit of an expression, guessed from its text: a rate of bytes is bytes a second, a rate of seconds is a ratio
 * (busy time), any other rate is events a second; a quotient of like things is a plain number.
 * @returns {Unit}
 */
export function unitOfQuery(query, declared = "") {
  if (COUNT.test(query)) return "none";
  const outside = query.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`/g, '""');
  if (/histogram_quantile/.test(outside)) {
    const bucket = (outside.match(NAME) ?? []).find((word) => word.endsWith("_bucket"));
    return bucket ? unitOfMetric(bucket.replace(/_bucket$/, ""), declared) : "seconds";
  }
  if (/\/(?!\/)/.test(outside.replace(/\{[^}]*\}/g, ""))) return "none";
  const metric = (
    outside.replace(/\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring)\s*\([^)]*\)/g, " ").match(NAME) ?? []
  ).find((word) => word.includes("_") && !/_over_time$|^histogram_|^label_|^group_|^quantile_/.test(word));
  const unit = metric ? unitOfMetric(metric, declared) : "none";
  if (!RATE.test(outside)) return unit;
  if (unit === "bytes") return "bytes_per_s";
  if (unit === "seconds") return "ratio";
  return "per_second";
}

/** Ticks of a value axis for binary units: round in powers of two, so that the axis says 256 MiB and not 238 MiB. */
export function binarySplits(min, max, wanted) {
  if (!(max > min)) return [min];
  const power = Math.log2((max - min) / Math.max(wanted, 1));
  const step = 2 ** Math.max(Math.ceil(power), 0);
  const splits = [];
  for (let value = Math.ceil(min / step) * step; value <= max + step * 1e-9; value += step) splits.push(value);
  return splits;
}
