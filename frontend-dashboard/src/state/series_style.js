/** The colour and dash of a series: made from who it is, and kept. Pure but for what it keeps. */

const KEPT_MAX = 500;
export const DASHES = [null, [7, 3], [2, 3], [9, 3, 2, 3], [14, 4], [4, 2], [9, 3, 2, 3, 2, 3], [1, 5]];

function hashOf(text) {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash >>> 0;
}

export class SeriesStyles {
  #kept = new Map(); // identity → style, a number: slot + colours × dash
  #colors;
  #save;

  /**
   * @param {number} colors of the palette
   * @param {{kept?: [string, number][], save?: (kept: [string, number][]) => void}} store what an earlier page kept,
   * and where this one does
   */
  constructor(colors, { kept = [], save = () => {} } = {}) {
    this.#colors = colors;
    this.#save = save;
    const styles = colors * DASHES.length;
    for (const [identity, style] of kept.slice(-KEPT_MAX))
      if (Number.isInteger(style) && style >= 0 && style < styles) this.#kept.set(String(identity), style);
  }

  /**
   * One style each. A series that was styled before keeps its own, on whichever chart; a new one takes the first style
   * from its own place on that no other series of this chart has: colours first, then dashes.
   * @param {string[]} identities of the series of one chart
   * @param {{alike?: boolean}} how alike: colours are all the same, so it is the dash that differs
   * @returns {{slot: number, dash: number[]|null}[]}
   */
  of(identities, { alike = false } = {}) {
    const taken = new Set(identities.map((identity) => this.#kept.get(identity)));
    const known = identities.every((identity) => this.#kept.has(identity));
    const styles = identities.map((identity) => {
      const style = this.#kept.get(identity) ?? this.#free(identity, taken);
      taken.add(style);
      this.#keep(identity, style);
      const slot = style % this.#colors;
      return { slot, dash: DASHES[alike ? slot % DASHES.length : Math.floor(style / this.#colors)] };
    });
    if (!known) this.#save([...this.#kept]);
    return styles;
  }

  /** The names of one organisation's series are nobody else's. */
  forget() {
    this.#kept.clear();
    this.#save([]);
  }

  #free(identity, taken) {
    const start = hashOf(identity) % this.#colors;
    for (let at = 0; at < this.#colors * DASHES.length; at += 1) {
      const style = ((start + at) % this.#colors) + this.#colors * Math.floor(at / this.#colors);
      if (!taken.has(style)) return style;
    }
    return start;
  }

  #keep(identity, style) {
    this.#kept.delete(identity);
    this.#kept.set(identity, style);
    if (this.#kept.size > KEPT_MAX) this.#kept.delete(this.#kept.keys().next().value);
  }
}
