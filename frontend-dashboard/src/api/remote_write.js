/**
 * One remote_write 1.0 request, made by hand, so that a line of curl can send a first sample. Pure.
 *
 * WriteRequest{timeseries=1{labels=1{name=1,value=2}, samples=2{value=1 double, timestamp=2 int64 ms}}} in snappy's
 * block format, of which only literals are used: the declared length, then tagged runs of at most 60 bytes.
 */

const utf8 = new TextEncoder();

function varint(number) {
  const bytes = [];
  let rest = BigInt(number);
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 0x80 : low);
  } while (rest > 0n);
  return bytes;
}

function field(number, payload) {
  return [(number << 3) | 2, ...varint(payload.length), ...payload];
}

function text(number, value) {
  return field(number, [...utf8.encode(value)]);
}

/** Protobuf bytes of one series with one sample; labels are sorted by name, as the protocol asks. */
export function encodeWriteRequest(labels, value, timestampMs) {
  const pairs = Object.keys(labels)
    .sort()
    .flatMap((name) => field(1, [...text(1, name), ...text(2, labels[name])]));
  const double = [...new Uint8Array(new Float64Array([value]).buffer)];
  const sample = field(2, [(1 << 3) | 1, ...double, 2 << 3, ...varint(timestampMs)]);
  return Uint8Array.from(field(1, [...pairs, ...sample]));
}

/** Snappy block format without compression. */
export function snappyLiterals(bytes) {
  const out = varint(bytes.length);
  for (let at = 0; at < bytes.length; at += 60) {
    const run = bytes.subarray(at, at + 60);
    out.push((run.length - 1) << 2, ...run);
  }
  return Uint8Array.from(out);
}

/** The request body in base64, ready for a shell. */
export function firstSampleBase64(labels, value, timestampMs) {
  return btoa(String.fromCharCode(...snappyLiterals(encodeWriteRequest(labels, value, timestampMs))));
}
