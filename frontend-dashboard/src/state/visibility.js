/** Which series of a chart are shown: clicks in, the set of hidden keys out. Pure. */

/**
 * A short, stable key of a series' full name: FNV-1a, 32 bits, base 36. A clash would hide two series together,
 * nothing worse.
 */
export function keyOf(name) {
  let hash = 0x811c9dc5;
  for (let index = 0; index < name.length; index += 1) {
    hash ^= name.charCodeAt(index);
    hash = Math.imul(hash, 0x01000193);
  }
  return (hash >>> 0).toString(36);
}

/** Only `key` is shown; when it was alone already, all are again. */
export function isolate(hidden, keys, key) {
  const alone = !hidden.has(key) && keys.every((other) => other === key || hidden.has(other));
  return new Set(alone ? [] : keys.filter((other) => other !== key));
}

/** `key` changes sides; hiding the last one shows all. */
export function toggle(hidden, keys, key) {
  const next = new Set(hidden);
  if (!next.delete(key)) next.add(key);
  return keys.every((other) => next.has(other)) ? new Set() : next;
}

/** For the URL: the shorter of `hide` and `only`. */
export function packHidden(hidden, keys) {
  const off = keys.filter((key) => hidden.has(key));
  const on = keys.filter((key) => !hidden.has(key));
  if (off.length === 0) return { hide: "", only: "" };
  return on.length < off.length ? { hide: "", only: on.join(",") } : { hide: off.join(","), only: "" };
}

/** From the URL, for the series that there are. */
export function unpackHidden({ hide = "", only = "" }, keys) {
  if (only) {
    const on = new Set(only.split(","));
    return keys.some((key) => on.has(key)) ? new Set(keys.filter((key) => !on.has(key))) : new Set();
  }
  return new Set(hide ? hide.split(",") : []);
}
