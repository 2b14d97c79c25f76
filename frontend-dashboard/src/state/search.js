/** Finding names among many as one types: every word must occur; earlier and whole-word hits first. Pure. */

/**
 * The best `limit` of `names` for `text`, and how many there are. 100,000 names take some tens of milliseconds: plain
 * substring tests on text that was lowered once, longest word first since it refuses most, and only the best are kept
 * in order.
 * @param {{name: string, lower: string}[]} index
 */
export function search(index, text, limit = 50) {
  const words = text
    .toLowerCase()
    .split(/\s+/)
    .filter(Boolean)
    .sort((a, b) => b.length - a.length);
  if (words.length === 0) return { hits: index.slice(0, limit).map(({ name }) => name), total: index.length };
  const best = []; // {score, name}, ascending, at most `limit`
  let total = 0;
  for (const { name, lower } of index) {
    const score = scoreOf(lower, words);
    if (score < 0) continue;
    total += 1;
    if (best.length === limit && score >= best[limit - 1].score) continue;
    let at = best.length;
    while (at > 0 && (best[at - 1].score > score || (best[at - 1].score === score && best[at - 1].name > name)))
      at -= 1;
    best.splice(at, 0, { score, name });
    if (best.length > limit) best.pop();
  }
  return { hits: best.map(({ name }) => name), total };
}

/**
 * Lower is better; -1: a word is missing. A hit at the start costs nothing, at the start of a part 1, inside of one
 * 3.
 */
function scoreOf(lower, words) {
  let score = lower.length / 1000;
  for (const word of words) {
    const at = lower.indexOf(word);
    if (at < 0) return -1;
    if (at > 0) score += lower[at - 1] === "_" || lower[at - 1] === ":" ? 1 : 3;
  }
  return score;
}

/** The index `search` reads. */
export function searchIndex(names) {
  return names.map((name) => ({ name, lower: name.toLowerCase() }));
}
