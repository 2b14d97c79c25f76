/** Least and greatest of each step, drawn as an upright stroke through its point. */

/**
 * A uPlot path builder: the line that `linear` makes, and the strokes.
 * @param {Function} linear uPlot.paths.linear()
 * @param {(line: number) => {lows: (number|null)[]|null, highs: (number|null)[]|null}} boundsOf
 */
export function envelopePaths(linear, boundsOf) {
  return (plot, index, from, to, ...rest) => {
    const paths = linear(plot, index, from, to, ...rest);
    const { lows, highs } = boundsOf(index - 1);
    if (!paths || !lows || !highs) return paths;
    for (let at = from; at <= to; at += 1) {
      if (lows[at] === null || highs[at] === null || lows[at] === highs[at]) continue;
      const x = plot.valToPos(plot.data[0][at], "x", true);
      paths.stroke.moveTo(x, plot.valToPos(lows[at], "y", true));
      paths.stroke.lineTo(x, plot.valToPos(highs[at], "y", true));
    }
    return paths;
  };
}

/** The least and greatest of what is drawn, points and strokes; nulls where nothing is. Pure. */
export function extentOf(columns, bounds) {
  let [min, max] = [Infinity, -Infinity];
  const take = (values) => {
    for (const value of values ?? []) {
      if (value === null || value === undefined) continue;
      min = Math.min(min, value);
      max = Math.max(max, value);
    }
  };
  columns.forEach(take);
  bounds.forEach(({ lows, highs }) => {
    take(lows);
    take(highs);
  });
  return min <= max ? [min, max] : [null, null];
}
