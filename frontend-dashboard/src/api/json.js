/** Large answers of das, read in pieces: five megabytes at once would hold the page up for longer than a frame. */

const PIECE_CHARS = 500_000; // some 4 ms
// In a string their quotes would be escaped: where they stand, series begin.
const HEAD = '"result":[';
const FIRST = `${HEAD}{"metric":`;
const NEXT = ',{"metric":';

/** What JSON.parse makes of `text`, with a `yield` after each PIECE_CHARS of series. */
export function* parseInSteps(text) {
  if (text.length < 2 * PIECE_CHARS) return JSON.parse(text);
  const taken = []; // of each answer with series: those that `rest` is without
  let rest = "";
  let from = 0;
  let head = text.indexOf(FIRST);
  while (head >= 0) {
    const nextHead = text.indexOf(FIRST, head + 1);
    const end = nextHead < 0 ? text.length : nextHead;
    rest += text.slice(from, head + HEAD.length);
    from = head + HEAD.length;
    const series = [];
    for (
      let to = text.indexOf(NEXT, from + PIECE_CHARS);
      to >= 0 && to < end;
      to = text.indexOf(NEXT, from + PIECE_CHARS)
    ) {
      series.push(...JSON.parse(`[${text.slice(from, to)}]`));
      from = to + 1;
      yield;
    }
    taken.push(series);
    head = nextHead;
  }
  const whole = JSON.parse(rest + text.slice(from));
  const results = [whole.data].flat().map((one) => one.data ?? one);
  const shown = taken.length > 0 ? results.filter(({ result }) => result?.length > 0) : [];
  taken.forEach((series, at) => {
    shown[at].result = [...series, ...shown[at].result];
  });
  return whole;
}
