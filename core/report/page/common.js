"use strict";
// What the pages share: the data, elements made from it, numbers as text. Text reaches the page only as text nodes.

const data = JSON.parse(document.getElementById("data").textContent);

// el("td", {class: "number", title: "…"}, "text", otherElement): properties that are functions are listeners.
function el(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else node.setAttribute(name, value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}

const byId = (id) => document.getElementById(id);

function grouped(x) {
  return Math.round(x).toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

// Four digits, as a person reads them: 0.0412, 1e-4, 1,234.
function number(x) {
  if (x === null || x === undefined || !isFinite(x)) return "–";
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return x.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e");
  if (size >= 1000) return grouped(x);
  return String(Number(x.toPrecision(4)));
}

function bytes(x) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  while (Math.abs(x) >= 999.5 && i + 1 < units.length) x /= 1000, i += 1;
  return `${Number(x.toPrecision(3))} ${units[i]}`;
}

function duration(seconds) {
  if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
  if (seconds < 600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86400 * 2) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.round((seconds % 86400) / 3600)} h`;
}

const percent = (share) => `${Number((100 * share).toPrecision(2))} %`;

const statusText = {
  running: "running", done: "done", stopped: "stopped, can go on", failed: "failed", interrupted: "interrupted", unknown: "state not known",
};

function chip(status) {
  return el("span", {class: `chip ${status in statusText ? status : "unknown"}`}, statusText[status] || status);
}

// A picture; those of a few pixels are enlarged without blur.
function picture(uri, alt, width) {
  return el("img", {src: uri, alt, loading: "lazy", decoding: "async", class: width && width < 128 ? "pixels" : null});
}

// "a, b or c": what the run is called by.
function footer() {
  return el("footer", null, `Written ${data.written} UTC by t2i ${data.t2i}. This page loads nothing and sends nothing.`);
}
