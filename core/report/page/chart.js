"use strict";
// Curves as SVG. All charts of a page share one view: x axis, zoom, smoothing and cursor, so what is pointed at in one
// is seen in all. A chart is reached with Tab; arrows move the cursor, + and - zoom, Escape shows everything.

const view = {axis: "steps", range: null, smoothing: 0.6, log: false, outliers: true, cursor: null};
const charts = [];

// TensorBoard's smoothing: an exponential average that does not lean towards zero at its beginning. What is no number
// is passed over.
function smooth(ys, weight) {
  let last = 0, seen = 0;
  return ys.map((y) => {
    if (y === null) return null;
    last = last * weight + (1 - weight) * y;
    seen += 1;
    return weight === 1 ? y : last / (1 - Math.pow(weight, seen));
  });
}

function niceTicks(low, high, wanted) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / Math.max(wanted, 1), power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= 0.75 * rough);
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; ++i) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const ticks = [], few = Math.log10(high / low) < 3;
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); ++power)
    for (const m of few ? [1, 2, 5] : [1]) ticks.push(m * Math.pow(10, power));
  return ticks.filter((t) => t >= low && t <= high);
}

const axisNames = {steps: "step", epochs: "epoch", seconds: "time"};
const axisText = {steps: grouped, epochs: (x) => String(Number(x.toPrecision(5))), seconds: duration};

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// The share of `sorted` below which `part` of it lies.
const quantile = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(part * (sorted.length - 1))))];

// `lines`: [{label, color, points: {steps, epochs, seconds}, mean, low, high, missing, smooth, dash}]; `text`: a value as
// text; `marks`: steps at which a run went on after an interruption, [{step, text, line}].
class Chart {
  constructor(parent, {title, lines, text = number, fromZero = false, canLog = false, wide = false, marks = [], note = ""}) {
    Object.assign(this, {title, lines, text, fromZero, canLog, marks});
    this.values = lines.map(() => el("b", {class: "value"}));
    const legend = lines.map((line, i) =>
        el("span", {class: `key c-${line.color}`}, el("span", {class: `swatch${line.dash ? " dashed" : ""}`}), line.label, this.values[i]));
    this.svg = svg("svg", {tabindex: 0, role: "img", "aria-label": this.description()});
    parent.append(el("figure", {class: wide ? "chart wide" : "chart"}, el("figcaption", null, el("span", {class: "title"}, title), ...legend), this.svg,
                     note ? el("p", {class: "hint"}, note) : null));
    this.listen();
    charts.push(this);
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  description() {
    return this.title + ". " + this.lines.map((line) => {
      const known = line.mean.filter((y) => y !== null);
      if (!known.length) return `${line.label}: no values`;
      return `${line.label}: ${known.length} points, last ${this.text(known[known.length - 1])}, lowest ${this.text(known.reduce((a, b) => Math.min(a, b)))}, highest ${this.text(known.reduce((a, b) => Math.max(a, b)))}`;
    }).join(". ") + ". Arrow keys move through the values.";
  }

  domain() {  // of x
    if (view.range) return view.range;
    let low = Infinity, high = -Infinity;
    for (const chart of charts)
      for (const {points} of chart.lines)
        if (points[view.axis].length) low = Math.min(low, points[view.axis][0]), high = Math.max(high, points[view.axis][points[view.axis].length - 1]);
    if (view.axis !== "steps") low = Math.min(low, 0);
    if (!(high > low)) high = low + 1;
    return isFinite(low) ? [low, high] : [0, 1];
  }

  shown(line) {
    return line.smooth && view.smoothing > 0 ? smooth(line.mean, view.smoothing) : line.mean;
  }

  range([from, to], log) {  // of y, over what is seen
    let low = Infinity, high = -Infinity;
    const take = (y) => {
      if (y !== null && (!log || y > 0)) low = Math.min(low, y), high = Math.max(high, y);
    };
    for (const line of this.lines) {
      const inside = (ys) => ys.filter((y, i) => y !== null && line.points[view.axis][i] >= from && line.points[view.axis][i] <= to);
      const raw = inside(line.mean);
      if (line.smooth && view.outliers) {
        const sorted = raw.filter((y) => !log || y > 0).sort((a, b) => a - b);
        if (sorted.length) take(quantile(sorted, 0.02)), take(quantile(sorted, 0.98));
        inside(this.shown(line)).forEach(take);
      } else {
        raw.forEach(take);
        if (line.low) inside(line.low).forEach(take), inside(line.high).forEach(take);
      }
    }
    if (!isFinite(low)) return log ? [0.1, 1] : [0, 1];
    if (log) return low === high ? [low / 2, high * 2] : [low / Math.pow(high / low, 0.05), high * Math.pow(high / low, 0.05)];
    if (this.fromZero) low = Math.min(low, 0);
    const pad = (high - low || Math.abs(high) || 1) * 0.06;
    return [this.fromZero && low === 0 ? 0 : low - pad, high + pad];
  }

  draw() {
    const width = this.svg.clientWidth, height = this.svg.clientHeight;
    if (!width || !height) return;
    const left = 58, right = 14, top = 8, bottom = 24, log = this.canLog && view.log;
    const x_range = this.domain(), y_range = this.range(x_range, log);
    const ty = log ? Math.log : (y) => y;
    this.x = (x) => left + (x - x_range[0]) / (x_range[1] - x_range[0]) * (width - left - right);
    this.y = (y) => height - bottom - (ty(y) - ty(y_range[0])) / (ty(y_range[1]) - ty(y_range[0])) * (height - top - bottom);
    this.inverse = (px) => x_range[0] + (px - left) / (width - left - right) * (x_range[1] - x_range[0]);
    this.size = {left, right, top, bottom, width, height};
    const clip = `clip-${charts.indexOf(this)}`, parts = [];
    parts.push(svg("clipPath", {id: clip}, svg("rect", {x: left, y: top, width: Math.max(width - left - right, 0), height: Math.max(height - top - bottom, 0)})));
    for (const y of log ? logTicks(...y_range) : niceTicks(...y_range, height / 45)) {
      parts.push(svg("line", {class: "grid", x1: left, x2: width - right, y1: this.y(y), y2: this.y(y)}));
      parts.push(svg("text", {class: "tick", x: left - 6, y: this.y(y) + 4, "text-anchor": "end"}, this.text(y)));
    }
    const ticks = niceTicks(...x_range, Math.max(2, Math.floor((width - left - right) / 110)));
    for (const x of ticks) {
      const anchor = this.x(x) > width - right - 30 ? "end" : "middle";
      parts.push(svg("text", {class: "tick", x: Math.min(this.x(x), width - 2), y: height - 7, "text-anchor": anchor}, axisText[view.axis](x)));
    }
    parts.push(svg("line", {class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom}));
    const curves = svg("g", {"clip-path": `url(#${clip})`});
    for (const line of this.lines) curves.append(...this.paths(line, log));
    for (const mark of this.marks) {
      const at = this.at_step(this.lines[mark.line || 0], mark.step);
      if (at !== null) curves.append(svg("line", {class: "resume", x1: this.x(at), x2: this.x(at), y1: top, y2: height - bottom}, svg("title", {}, mark.text)));
    }
    this.cursor = svg("g", {class: "cursor", "clip-path": `url(#${clip})`});
    this.selection = svg("rect", {class: "selection", y: top, height: Math.max(height - top - bottom, 0), width: 0});
    this.svg.replaceChildren(...parts, curves, this.selection, this.cursor);
    this.point();
  }

  // Steps between two points belong to the later one.
  at_step(line, step) {
    const i = line.points.steps.findIndex((s) => s >= step);
    return i < 0 ? null : line.points[view.axis][i];
  }

  paths(line, log) {
    const xs = line.points[view.axis], broken = new Set(line.missing.map(([i]) => i)), out = [];
    const path = (ys) => {
      let d = "", pen = false, alone = [];
      let count = 0, first = 0;
      const end = () => {
        if (count === 1) alone.push(first);
        count = 0, pen = false;
      };
      ys.forEach((y, i) => {
        if (y === null || (log && y <= 0)) {
          if (broken.has(i)) end();  // a value that is absent is no gap: not every step has every value
          return;
        }
        if (!pen) first = i;
        d += `${pen ? "L" : "M"}${this.x(xs[i]).toFixed(2)},${this.y(y).toFixed(2)}`;
        pen = true, count += 1;
      });
      end();
      return {d, alone};
    };
    const color = `c-${line.color}`, soft = line.smooth && view.smoothing > 0;
    if (line.low) {
      const there = xs.map((x, i) => i).filter((i) => line.low[i] !== null && (!log || line.low[i] > 0));
      const edge = (ys, order) => order.map((i) => `${this.x(xs[i]).toFixed(2)},${this.y(ys[i]).toFixed(2)}`).join("L");
      if (there.length > 1) out.push(svg("path", {class: `band ${color}`, d: `M${edge(line.high, there)}L${edge(line.low, there.slice().reverse())}Z`}));
    }
    const raw = path(line.mean);
    out.push(svg("path", {class: `line ${color}${soft ? " raw" : ""}${line.dash ? " dashed" : ""}`, d: raw.d}));
    for (const i of raw.alone) out.push(svg("circle", {class: `dot ${color}`, cx: this.x(xs[i]), cy: this.y(line.mean[i]), r: 2.5}));
    if (soft) out.push(svg("path", {class: `line ${color}${line.dash ? " dashed" : ""}`, d: path(this.shown(line)).d}));
    const bottom = this.size.height - this.size.bottom;
    for (const [i, count] of line.missing) {
      const x = this.x(xs[i]);
      out.push(svg("path", {class: "bad", d: `M${x - 5},${bottom}L${x + 5},${bottom}L${x},${bottom - 9}Z`},
                   svg("title", {}, `step ${line.points.steps[i]}: ${line.label} is no number${count > 1 ? ` in ${count} steps` : ""}`)));
    }
    return out;
  }

  nearest(line, x) {  // the point, with a value or without
    const xs = line.points[view.axis];
    let low = 0, high = xs.length - 1;
    if (high < 0) return -1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] < x) low = middle;
      else high = middle;
    }
    return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
  }

  // The values at the cursor, or the last ones.
  point() {
    if (!this.cursor) return;
    this.cursor.replaceChildren();
    this.lines.forEach((line, l) => {
      const shown = this.shown(line);
      let i = view.cursor === null ? shown.length - 1 : this.nearest(line, view.cursor);
      while (view.cursor === null && i > 0 && shown[i] === null) --i;
      const y = i < 0 ? null : shown[i];
      const raw = i >= 0 && line.smooth && view.smoothing > 0 && line.mean[i] !== null ? ` (${this.text(line.mean[i])})` : "";
      const bad = i >= 0 && y === null && line.missing.some(([m]) => m === i);
      this.values[l].textContent = bad ? "no number" : this.text(y) + raw;
      if (view.cursor === null || y === null) return;
      if (!this.canLog || !view.log || y > 0) this.cursor.append(svg("circle", {class: `dot c-${line.color}`, cx: this.x(line.points[view.axis][i]), cy: this.y(y), r: 3.5}));
    });
    if (view.cursor !== null) {
      const x = this.x(view.cursor);
      this.cursor.prepend(svg("line", {x1: x, x2: x, y1: this.size.top, y2: this.size.height - this.size.bottom}));
    }
  }

  listen() {
    let from = null;
    const at = (event) => {
      const box = this.svg.getBoundingClientRect();
      return Math.min(Math.max(event.clientX - box.left, this.size.left), this.size.width - this.size.right);
    };
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.size) return;
      from = at(event);
      this.svg.setPointerCapture(event.pointerId);
    });
    this.svg.addEventListener("pointermove", (event) => {
      if (!this.size) return;
      const px = at(event);
      if (from !== null) this.selection.setAttribute("x", Math.min(from, px)), this.selection.setAttribute("width", Math.abs(px - from));
      setCursor(this.inverse(px));
    });
    this.svg.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const to = at(event), begin = from;
      from = null;
      this.selection.setAttribute("width", 0);
      if (Math.abs(to - begin) > 6) zoom([Math.min(begin, to), Math.max(begin, to)].map(this.inverse));
    });
    this.svg.addEventListener("pointercancel", () => {
      from = null;
      this.selection.setAttribute("width", 0);
    });
    this.svg.addEventListener("pointerleave", () => from === null && setCursor(null));
    this.svg.addEventListener("dblclick", () => zoom(null));
    this.svg.addEventListener("blur", () => setCursor(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const longest = this.lines.reduce((a, b) => b.points.steps.length > a.points.steps.length ? b : a), xs = longest.points[view.axis];
    if (!xs.length) return;
    const [low, high] = this.domain(), here = view.cursor === null ? xs.length - 1 : this.nearest(longest, view.cursor);
    const jump = event.shiftKey ? Math.max(10, Math.round(xs.length / 20)) : 1;
    const go = (i) => setCursor(xs[Math.min(Math.max(i, 0), xs.length - 1)], true);
    const closer = (factor) => {
      const middle = view.cursor === null ? (low + high) / 2 : view.cursor;
      zoom([middle - (middle - low) * factor, middle + (high - middle) * factor]);
    };
    const actions = {
      ArrowLeft: () => go(here - jump), ArrowRight: () => go(here + jump), Home: () => go(0), End: () => go(xs.length - 1),
      "+": () => closer(0.5), "=": () => closer(0.5), "-": () => closer(2), Escape: () => zoom(null), "0": () => zoom(null),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    actions[event.key]();
    event.preventDefault();
  }
}

let pending = false;
function redraw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    for (const chart of charts) chart.draw();
  });
}

// `spoken`: it was moved by a key, so it is said.
function setCursor(x, spoken = false) {
  view.cursor = x;
  for (const chart of charts) chart.point();
  const where = byId("where");
  if (!where) return;
  where.textContent = x === null || !charts.length ? "" : `${axisNames[view.axis]} ${axisText[view.axis](charts[0].lines.length ? nearestX(x) : x)}`;
  if (spoken) byId("spoken").textContent = where.textContent + ": " + charts.filter((c) => document.activeElement === c.svg)
      .flatMap((c) => c.lines.map((line, i) => `${line.label} ${c.values[i].textContent}`)).join(", ");
}

function nearestX(x) {
  const line = charts[0].lines[0], i = charts[0].nearest(line, x);
  return i < 0 ? x : line.points[view.axis][i];
}

function zoom(range) {
  const was = view.range;
  view.range = null;
  if (range && charts.length) {
    const [low, high] = charts[0].domain(), next = [Math.max(range[0], low), Math.min(range[1], high)];
    const least = (high - low) / 5000;
    view.range = next[1] - next[0] >= high - low ? null : next[1] - next[0] < least ? was : next;
  }
  byId("whole").disabled = view.range === null;
  redraw();
}

// Smoothing, scales, axis and zoom, for the charts of the page.
function chartControls(parent) {
  const value = el("output", null, view.smoothing.toFixed(2));
  const smoothing = el("input", {type: "range", id: "smoothing", min: 0, max: 0.999, step: 0.001, value: view.smoothing, input: (event) => {
    view.smoothing = Number(event.target.value);
    value.textContent = view.smoothing.toFixed(view.smoothing > 0.99 ? 3 : 2);
    redraw();
  }});
  const box = (id, text, key) => el("label", {for: id}, el("input", {type: "checkbox", id, checked: view[key], change: (event) => {
    view[key] = event.target.checked;
    redraw();
  }}), text);
  const axis = el("select", {id: "axis", change: (event) => {
    view.axis = event.target.value, view.range = null, view.cursor = null;
    zoom(null), setCursor(null);
  }}, el("option", {value: "steps"}, "steps"), el("option", {value: "epochs"}, "epochs"), el("option", {value: "seconds"}, "time"));
  parent.append(el("label", {for: "smoothing"}, "Smoothing", smoothing, value), box("log", "Logarithmic loss", "log"), box("outliers", "Ignore outliers", "outliers"),
                el("label", {for: "axis"}, "Over", axis), el("button", {type: "button", id: "whole", disabled: true, click: () => zoom(null)}, "Show all"),
                el("output", {id: "where"}), el("span", {id: "spoken", class: "hidden", "aria-live": "polite"}));
}

// Which series belong on one chart, in the order in which they are shown.
const chartPlan = [
  {title: "Loss", pick: (n) => n === "loss" || n === "raw_loss", smooth: true, canLog: true, wide: true},
  {title: "Learning rate", pick: (n) => n === "lr" || n.startsWith("lr/") || n.startsWith("lr_"), fromZero: true},
  {title: "Gradient norm", pick: (n) => n === "grad_norm", smooth: true, fromZero: true},
  {title: "Images per second", pick: (n) => n === "images_per_second", smooth: true, fromZero: true},
  {title: "Seconds of a step", pick: (n) => n === "step_seconds" || n === "data_seconds", smooth: true, fromZero: true},
  {title: "Memory", pick: (n) => n.endsWith("memory_bytes") || n === "peak_reserved_bytes", text: bytes, fromZero: true},
];

const seriesNames = {
  raw_loss: "without weights", lr: "learning rate", grad_norm: "before clipping", images_per_second: "images per second", step_seconds: "whole step",
  data_seconds: "waiting for data", memory_bytes: "in use", peak_memory_bytes: "most so far", peak_reserved_bytes: "most reserved",
};
