/** `<coh-chart>`: one uPlot with tooltip, linked cursor, drag to zoom, and a spoken form of the same data. */

import { moveCursor, joinCursor } from "../charts/cursor_bus.js";
import { LineLayers } from "../charts/layers.js";
import { extentOf } from "../charts/lines.js";
import { chartOptions } from "../charts/options.js";
import { chartTheme } from "../charts/theme.js";
import { el, fill } from "../dom.js";
import { fullTime } from "../format/time.js";
import { format } from "../format/units.js";
import { themeEvents } from "../state/theme.js";
import { indexOf, nextIndex } from "../charts/reading.js";
import { regionsAt, rowsAt, tipContent, toldOf } from "./chart_tip.js";
import uPlot from "../vendor/uplot.js";

const DRAG_MIN_PX = 5;
const TIP_APART_PX = 14;
const FAR_PX = -10_000; // above the plot: near no line, so none is singled out

/**
 * What a chart shows.
 * @typedef {object} ChartModel
 * @property {number[]} times seconds
 * @property {import("../charts/options.js").Line[]} lines
 * @property {(number|null)[][]} columns what is drawn, one for each line
 * @property {(number|null)[][]} [values] what is told, where it differs (stacked areas)
 * @property {(number|null)[][]} [inView] what the value axis must hold; all columns where it is left out
 * @property {{lows: (number|null)[]|null, highs: (number|null)[]|null}[]} [bounds] least and greatest of each step
 * @property {string} unit
 * @property {[number, number]} span seconds
 * @property {object[]} [bands]
 * @property {{from: number, to: number, name?: string, text?: string}[]} [regions] seconds; washed in the colour of
 * trouble, with a name at the top where there is room, and a text that is told of the points inside
 * @property {boolean} [mirrored] what is drawn below zero counts upwards too
 * @property {boolean} [zeroBased]
 * @property {number|null} [top]
 * @property {"local"|"utc"} [zone]
 * @property {string} [title]
 */
export class Chart extends HTMLElement {
  #model = null;
  #plot = null;
  #shape = "";
  #layers = new LineLayers();
  #host = el("div", { class: "chart-plot" });
  #tip = el("div", { class: "chart-tip", hidden: true });
  #spoken = el("div", { class: "offscreen", "aria-live": "polite" });
  #ended = null;
  #pinned = false;
  #dragged = false;
  #linked = false;
  #readS = null; // the moment that arrow keys stand on, seconds

  /** @param {ChartModel} model */
  set model(model) {
    this.#model = model;
    if (this.isConnected) this.#draw();
  }

  connectedCallback() {
    this.replaceChildren(this.#host, this.#tip, this.#spoken);
    this.tabIndex = 0;
    this.setAttribute("role", "group");
    this.#ended = new AbortController();
    const { signal } = this.#ended;
    const leave = joinCursor(this);
    const resize = new ResizeObserver(() => this.#resize());
    resize.observe(this);
    signal.addEventListener("abort", () => {
      leave();
      resize.disconnect();
    });
    themeEvents.addEventListener("change", () => this.#rebuild(), { signal });
    this.addEventListener("keydown", (event) => this.#key(event), { signal });
    this.addEventListener("blur", () => this.#hideTip(), { signal });
    this.#host.addEventListener(
      "mouseleave",
      () => {
        if (this.#pinned) return;
        this.#hideTip();
        moveCursor(this, null);
      },
      { signal },
    );
    this.#host.addEventListener(
      "click",
      (event) => {
        if (event.detail === 1 && this.#plot?.cursor.idx !== null && !this.#dragged) this.#pin(!this.#pinned);
      },
      { signal },
    );
    if (this.#model) this.#draw();
  }

  disconnectedCallback() {
    this.#ended?.abort();
    this.#plot?.destroy();
    this.#plot = null;
  }

  /** The pointer is over another chart at this time; null: it left. */
  showTime(timeS) {
    if (!this.#plot || this.#pinned) return;
    const left = timeS === null ? -10 : this.#plot.valToPos(timeS, "x");
    this.#linked = true; // uPlot calls its cursor hook for this too
    this.#plot.setCursor({ left, top: FAR_PX });
    this.#linked = false;
  }

  /** One line stands out; -1: all alike. */
  focusLine(index) {
    this.#plot?.setSeries(index < 0 ? null : index + 1, { focus: index >= 0 });
  }

  #rebuild() {
    this.#shape = "";
    if (this.#model) this.#draw();
  }

  #draw() {
    const model = this.#model;
    this.setAttribute("aria-label", this.#summary());
    const shape = JSON.stringify([
      model.lines.map(({ name, color }) => [name, color]),
      model.unit,
      model.zone,
      model.mirrored,
    ]);
    const data = [model.times, ...model.columns];
    if (this.#plot && shape === this.#shape) {
      this.#plot.setData(data);
      this.#stand();
      return;
    }
    this.#plot?.destroy();
    this.#shape = shape;
    this.#host.replaceChildren();
    const { width, height } = this.#size();
    if (width === 0) {
      this.#plot = null;
      this.#shape = "";
      return;
    }
    const options = chartOptions({
      width,
      height,
      lines: model.lines,
      unit: model.unit,
      mirrored: model.mirrored,
      span: () => this.#model.span,
      extent: () => extentOf(this.#model.inView ?? this.#model.columns, this.#model.bounds ?? []),
      theme: chartTheme(),
      zeroBased: model.zeroBased,
      top: model.top ?? null,
      compact: width < 420,
      toDate:
        model.zone === "utc"
          ? (timeS) => uPlot.tzDate(new Date(timeS * 1000), "Etc/UTC")
          : (timeS) => new Date(timeS * 1000),
      hooks: {
        setCursor: [() => this.#cursorMoved()],
        setSelect: [() => this.#selected()],
        setSeries: [(_, index) => this.#layers.focus(index === null ? -1 : index - 1)],
        drawAxes: [(plot) => this.#drawRegions(plot)],
        draw: [(plot) => this.#layers.draw(plot, this.#model)],
      },
    });
    options.cursor.bind = {
      dblclick: () => () => this.#say("coh-zoom-back"),
      mousedown: (_, __, handler) => (event) => {
        this.#dragged = false;
        return handler(event);
      },
    };
    this.#plot = new uPlot(options, data, this.#host);
  }

  #size() {
    return { width: Math.floor(this.clientWidth), height: Math.floor(this.clientHeight) || 200 };
  }

  #resize() {
    if (!this.#model) return;
    if (!this.#plot) {
      this.#draw();
      return;
    }
    const size = this.#size();
    if (size.width > 0 && (size.width !== this.#plot.width || size.height !== this.#plot.height))
      this.#plot.setSize(size);
  }

  #drawRegions(plot) {
    const { ctx, bbox } = plot;
    const { bad, badWash, font } = chartTheme();
    const ratio = devicePixelRatio;
    const [top, height] = [bbox.top / ratio, bbox.height / ratio];
    const [first, end] = [bbox.left / ratio, (bbox.left + bbox.width) / ratio];
    let free = 0; // where the name before ended
    ctx.save();
    ctx.scale(ratio, ratio);
    ctx.font = font;
    for (const { from, to, name = "" } of this.#model.regions ?? []) {
      const left = Math.max(plot.valToPos(from, "x", true) / ratio, first);
      const right = Math.min(plot.valToPos(to, "x", true) / ratio, end);
      if (right < first || left > end) continue;
      ctx.fillStyle = badWash;
      ctx.fillRect(left, top, Math.max(right - left, 3), height);
      const nameWidth = ctx.measureText(name).width;
      const at = Math.min(left, end - nameWidth);
      if (at < free) continue;
      ctx.fillStyle = bad;
      ctx.fillText(name, at, top + 10);
      free = at + nameWidth + 6;
    }
    ctx.restore();
  }

  #selected() {
    const plot = this.#plot;
    const { left, width } = plot.select;
    if (width < DRAG_MIN_PX) return;
    this.#dragged = true;
    const fromMs = plot.posToVal(left, "x") * 1000;
    const toMs = plot.posToVal(left + width, "x") * 1000;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.#pin(false);
    this.#say("coh-range", { fromMs, toMs });
  }

  #say(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true }));
  }

  #cursorMoved() {
    const plot = this.#plot;
    if (!plot || this.#pinned || this.#linked) return;
    const { idx, left } = plot.cursor;
    if (idx === null || idx === undefined || left < 0) {
      if (this.#tip.hidden) return;
      this.#hideTip();
      moveCursor(this, null);
      return;
    }
    moveCursor(this, plot.posToVal(left, "x"));
    this.#showTip(idx);
  }

  #showTip(idx, { near: wanted = true } = {}) {
    const plot = this.#plot;
    const height = wanted && plot.cursor.top >= 0 ? plot.posToVal(plot.cursor.top, "y") : null;
    fill(this.#tip, tipContent(this.#model, idx, height));
    this.#tip.hidden = false;
    this.#tip.style.transform = `translate(${tipPlace(plot)}, 8px)`;
  }

  #hideTip() {
    this.#readS = null;
    this.#pin(false);
    this.#tip.hidden = true;
  }

  #pin(pinned) {
    this.#pinned = pinned;
    this.#tip.classList.toggle("pinned", pinned);
  }

  #key(event) {
    const plot = this.#plot;
    if (!plot || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && !this.#tip.hidden) {
      this.#hideTip();
      event.stopPropagation();
      return;
    }
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.#pin(false);
    const { times } = this.#model;
    if (times.length === 0) return;
    const idx = nextIndex(times, this.#readS, moves[event.key] * (event.shiftKey ? 10 : 1));
    this.#readS = times[idx];
    this.#stand();
    moveCursor(this, times[idx]);
    const rows = rowsAt(this.#model, idx).slice(0, 5);
    const values = rows.map((row) => `${row.line.name} ${toldOf(this.#model, row)}`).join(", ");
    const told = [values || "no sample", ...regionsAt(this.#model, idx)].join(". ");
    this.#spoken.textContent = `${fullTime(times[idx] * 1000, this.#model.zone)}: ${told}`;
  }

  /** The cursor where arrow keys left it: a refresh moves the points under it, not what is read. */
  #stand() {
    const idx = this.#readS === null ? -1 : indexOf(this.#model.times, this.#readS);
    if (idx < 0) return;
    this.#linked = true;
    this.#plot.setCursor({ left: this.#plot.valToPos(this.#model.times[idx], "x"), top: FAR_PX });
    this.#linked = false;
    this.#showTip(idx, { near: false });
  }

  #summary() {
    const { lines, columns, values, unit, title = "Chart" } = this.#model;
    const said = lines.slice(0, 4).map((line, index) => {
      const last = (values ?? columns)[index].findLast((value) => value !== null);
      return `${line.name} ${format(last, unit)}`;
    });
    const more = lines.length > 4 ? ` and ${lines.length - 4} more` : "";
    return `${title}: ${lines.length} series; last values ${said.join(", ")}${more}. Arrow keys read the points.`;
  }
}

/** Left edge of the tooltip: beside the cursor, on the side with more room. CSS knows its width: none is measured. */
function tipPlace({ cursor, bbox, width }) {
  const left = Math.round(cursor.left + bbox.left / devicePixelRatio);
  return left < width / 2
    ? `min(${left + TIP_APART_PX}px, ${width}px - 100%)`
    : `max(${left - TIP_APART_PX}px - 100%, 0px)`;
}
