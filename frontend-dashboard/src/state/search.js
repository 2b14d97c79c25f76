/** Finding names among many as one types: every word must occur; earlier and whole-word hits first. Pure. */

/**
 * The best `limit` of `names` for `text`. 100,000 names take a few milliseconds a word: plain substring tests on text that was
 * lowered once.
 * @param {{name: string, lower: string}[]} index
 */
export function search(index, text, limit = 50) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return { hits: index.slice(0, limit).map(({ name }) => name), total: index.length };
  const scored = [];
  for (const { name, lower } of index) {
    let score = lower.length / 1000;
    for (const word of words) {
      const at = lower.indexOf(word);
      if (at < 0) {
        score = -1;
        break;
      }
      if (at > 0) score += lower[at - 1] === "_" || lower[at - 1] === ":" ? 1 : 3;
    }
    if (score >= 0) scored.push([score, name]);
  }
  scored.sort((a, b) => a[0] - b[0] || (a[1] < b[1] ? -1 : 1));
  return { hits: scored.slice(0, limit).map(([, name]) => name), total: scored.length };
}

/** The index `search` reads. */
export function searchIndex(names) {
  return names.map((name) => ({ name, lower: name.toLowerCase() }));
}
