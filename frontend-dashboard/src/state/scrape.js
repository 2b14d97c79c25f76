/** How far the samples of a selector lie apart, learnt from the samples themselves. Pure. */

/**
 * PromQL: mean seconds between the samples of each series of `selector` over the last ten minutes. Times of samples
 * are counted, so a source of two minutes' age is told rightly; a series of one sample is left out.
 */
export function samplesApart(selector) {
  const times = `timestamp(${selector})[10m:5s]`;
  return `(max_over_time(${times}) - min_over_time(${times})) / (changes(${times}) > 0)`;
}
