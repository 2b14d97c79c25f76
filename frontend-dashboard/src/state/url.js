/**
 * The URL is the state: `#/explore?q=up&from=now-1h&to=now`. Reading and writing it; pure.
 *
 * @typedef {{path: string[], params: Record<string, string>}} Route
 */

/** @returns {Route} */
export function parseHash(hash) {
  const text = hash.replace(/^#/, "");
  const mark = text.indexOf("?");
  const path = (mark < 0 ? text : text.slice(0, mark)).split("/").filter(Boolean).map(decode);
  const params = {};
  for (const [name, value] of new URLSearchParams(mark < 0 ? "" : text.slice(mark + 1))) params[name] = value;
  return { path, params };
}

/** Parameters that are empty, null or undefined are left out; the order is that of `params`. */
export function formatHash({ path, params = {} }) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== "" && value !== null && value !== undefined) search.append(name, String(value));
  }
  const query = search.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${query ? `?${query}` : ""}`;
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a stray percent sign is itself
  }
}

const DOORS = ["login", "setup", "invitation", "forgotten", "reset", "verify", "address"];

/** Where to go after signing in: the asked hash, unless it is one of the doors itself. */
export function afterLogin(hash) {
  const { path } = parseHash(hash ?? "");
  return path.length === 0 || DOORS.includes(path[0]) ? "#/overview" : hash;
}
