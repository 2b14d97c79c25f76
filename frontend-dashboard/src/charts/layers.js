/**
 * Where the lines of a chart are drawn, and when.
 *
 *   up to LAYER_LINES lines   on the plot's own canvas, with its axes
 *   more of them              on canvases above it, one a frame: what was there stays until its turn comes
 *   the line that stands out  on the topmost; those below it step back, and are not drawn again
 */

import { drawLines, layersOf, placesOf } from "./lines.js";

/** Jobs, one a frame; new ones replace what is left of the old. */
export class Frames {
  #request;
  #jobs = [];
  #waiting = false;

  /** @param {(next: () => void) => void} request calls it before the next frame */
  constructor(request = (next) => requestAnimationFrame(next)) {
    this.#request = request;
  }

  run(jobs) {
    this.#jobs = jobs;
    if (this.#waiting) return;
    this.#waiting = true;
    this.#request(() => this.#next());
  }

  #next() {
    const [job, ...rest] = this.#jobs;
    this.#jobs = rest;
    job?.();
    this.#waiting = rest.length > 0;
    if (this.#waiting) this.#request(() => this.#next());
  }
}

export class LineLayers {
  #frames = new Frames();
  #plot = null;
  #canvases = [];
  #focused = -1;
  #model = null;

  /** `model` is drawn onto `plot`, whose axes just were. */
  draw(plot, model) {
    if (plot !== this.#plot) {
      this.#canvases = [];
      this.#focused = -1;
    }
    this.#plot = plot;
    this.#model = model;
    const layers = layersOf(model.lines.length);
    if (layers.length < 2) {
      this.#paint(plot.ctx, layers[0] ?? [], this.#focused);
      this.#keep(0);
      return;
    }
    this.#keep(layers.length + 1);
    this.#frames.run([
      ...layers.map((numbers, layer) => () => this.#layer(layer, numbers)),
      () => this.#layer(layers.length, this.#focused < 0 ? [] : [this.#focused]),
    ]);
  }

  /** One line stands out; -1: all alike. */
  focus(number) {
    if (number === this.#focused || !this.#plot) return;
    this.#focused = number;
    const above = this.#canvases.length - 1;
    if (above < 0) this.#plot.redraw(false, false);
    else {
      this.#canvases.forEach((canvas, layer) => canvas.classList.toggle("dimmed", number >= 0 && layer < above));
      this.#layer(above, number < 0 ? [] : [number]);
    }
  }

  /** As many canvases as this, as large as the plot's own. */
  #keep(count) {
    for (const canvas of this.#canvases.splice(count)) canvas.remove();
    while (this.#canvases.length < count) {
      const canvas = document.createElement("canvas");
      canvas.className = "chart-layer";
      this.#plot.over.before(canvas);
      this.#canvases.push(canvas);
    }
  }

  #layer(layer, numbers) {
    const { width, height } = this.#plot.ctx.canvas;
    const canvas = this.#canvases[layer];
    if (!canvas || !canvas.isConnected) return;
    const context = canvas.getContext("2d");
    if (canvas.width === width && canvas.height === height) context.clearRect(0, 0, width, height);
    else Object.assign(canvas, { width, height });
    this.#paint(context, numbers, -1);
  }

  #paint(context, numbers, focused) {
    const places = placesOf(this.#plot, this.#model.times);
    drawLines(context, places, this.#model, { numbers, focused, ratio: devicePixelRatio });
  }
}
