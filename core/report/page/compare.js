"use strict";
// compare.html: runs beside each other (data.kind "runs"), or two folders of pictures ("pictures").

function part(id, title, ...children) {
  byId("main").append(el("section", {id, "aria-labelledby": `${id}-title`}, el("h2", {id: `${id}-title`}, title), ...children));
}

const swatch = (i) => el("span", {class: `key c-${i % 8}`}, el("span", {class: "swatch"}));

function table(head, rows, properties) {
  return el("div", {class: "scroll"}, el("table", properties, el("thead", null, el("tr", null, head.map((h) => el("th", {scope: "col"}, h)))), el("tbody", null, rows)));
}

// ---- runs ----

function runTable(runs) {
  const facts = [
    ["State", (r) => chip(r.status)], ["Steps", (r) => grouped(r.step) + (r.total ? ` of ${grouped(r.total)}` : "")], ["Loss, mean of the last points", (r) => number(r.loss)],
    ["Images per second", (r) => number(r.images_per_second)], ["Time in steps", (r) => r.seconds ? duration(r.seconds) : "–"],
    ["Waiting for data", (r) => r.seconds ? percent(r.waiting_seconds / r.seconds) : "–"], ["Most memory", (r) => r.peak_memory_bytes === null ? "–" : bytes(r.peak_memory_bytes)],
  ];
  part("runs", "Runs", table(["", ...runs.map((r, i) => [swatch(i), r.name])], facts.map(([name, text]) => el("tr", null, el("th", {scope: "row"}, name), runs.map((r) => el("td", null, text(r))))), {class: "wide-table"}));
}

function settingTable(runs, differences) {
  if (!differences.length) return part("settings", "Settings", el("p", null, "The settings are the same."));
  part("settings", "Settings that differ", table(["Key", ...runs.map((r, i) => [swatch(i), r.name]), "Default"],
       differences.map((d) => el("tr", {title: d.doc}, el("th", {scope: "row"}, d.key), d.values.map((v) => el("td", {class: v === d.default ? "soft" : null}, el("code", null, v ?? "–"))), el("td", {class: "soft"}, el("code", null, d.default)))), {id: "differences", class: "wide-table"}));
}

function overlaid(runs) {
  const controls = el("div", {class: "controls sticky", id: "controls", role: "group", "aria-label": "How curves are drawn"}), place = el("div", {class: "charts", id: "charts"});
  part("curves", "Curves", controls, place, el("p", {class: "hint"}, "Drag to zoom, double-click to see all; with the keyboard: Tab to a chart, arrows, + and −, Escape. The longest run sets the width."));
  chartControls(controls);
  const names = [];
  for (const run of runs) for (const s of run.curves.series) if (!names.includes(s.name)) names.push(s.name);
  // One chart for every series, a line for every run; of a plan's several series each has its own chart.
  const plans = [
    {title: "Loss", name: "loss", smooth: true, canLog: true, wide: true}, {title: "Learning rate", name: "lr", fromZero: true}, {title: "Gradient norm", name: "grad_norm", smooth: true, fromZero: true},
    {title: "Images per second", name: "images_per_second", smooth: true, fromZero: true}, {title: "Memory, the most so far", name: "peak_memory_bytes", text: bytes, fromZero: true},
  ];
  const rest = ["raw_loss", "step_seconds", "data_seconds", "memory_bytes", ...plans.map((p) => p.name)];
  for (const name of names) if (!rest.includes(name)) plans.push({title: name, name, fromZero: name.startsWith("lr")});
  for (const plan of plans) {
    const lines = [];
    runs.forEach((run, i) => {
      const s = run.curves.series.find((series) => series.name === plan.name), {steps, epochs, seconds} = run.curves;
      if (s) lines.push({label: run.name, color: i % 8, points: {steps, epochs, seconds}, mean: s.mean, low: null, high: null, missing: s.missing, smooth: plan.smooth, dash: i >= 8});
    });
    if (lines.length) new Chart(place, {...plan, lines});
  }
}

function option(value, text) {
  return el("option", {value}, text);
}

function pictureStage(runs, {rows, steps, shots, files, side, left_out_steps: leftOut}) {
  if (!shots.length) return part("pictures", "Pictures", el("p", null, "The runs have no picture of the same prompt, seed and step."));
  const stage = wipeStage();
  const which = el("select", {id: "row"}, rows.map((row, r) => option(r, `${row.prompt || "(no text)"}${row.seed ? ` · seed ${row.seed}` : ""}`)));
  const slider = el("input", {type: "range", id: "step", min: 0, max: steps.length - 1, value: steps.length - 1}), label = el("output", {id: "picture-step"});
  const pick = (id, chosen) => el("select", {id}, runs.map((run, i) => el("option", {value: i, selected: i === chosen}, run.name)));
  const left = pick("left", 0), right = pick("right", 1);
  const show = () => {
    const step = steps[Number(slider.value)], shot = shots.find((s) => s.row === Number(which.value) && s.step === step);
    label.textContent = `${grouped(step)} (${Number(slider.value) + 1} of ${steps.length})`;
    slider.setAttribute("aria-valuetext", `step ${step}`);
    stage.classList.toggle("nothing", !shot);
    if (!shot) return;
    const of = (select) => ({...files[shot.files[Number(select.value)]], name: runs[Number(select.value)].name, alt: `${rows[shot.row].prompt}, step ${step}`});
    stage.show(of(left), of(right));
  };
  for (const input of [which, slider, left, right]) input.addEventListener("input", show);
  const hints = [`Pictures are at most ${side} pixels wide and high here; the files are in validation_images/ of the runs.`];
  if (leftOut) hints.push(`${grouped(leftOut)} steps between are left out, to keep this page small.`);
  part("pictures", "Pictures", el("div", {class: "controls"}, el("label", {for: "row"}, "Picture", which), runs.length > 2 ? [el("label", {for: "left"}, "Left", left), el("label", {for: "right"}, "Right", right)] : null,
       el("label", {for: "step", class: "grow"}, "Step", slider), label), stage, el("p", {class: "hint"}, hints.join(" ")));
  show();
}

// ---- two folders ----

// Of two paths as much of their ends as tells them apart.
function shortNames(a, b) {
  const parts = [a, b].map((path) => path.split("/").filter(Boolean));
  let n = 1;
  while (n < Math.max(parts[0].length, parts[1].length) && parts[0].slice(-n).join("/") === parts[1].slice(-n).join("/")) ++n;
  return parts.map((p, i) => p.slice(-n).join("/") || [a, b][i]);
}

function folderPairs() {
  const {pairs} = data, [a, b] = shortNames(data.a, data.b), measured = pairs.filter((p) => p.mean !== undefined), equal = measured.filter((p) => p.most === 0).length;
  byId("what").textContent = `${data.a} · ${data.b}`;
  const mean = measured.reduce((sum, p) => sum + p.mean, 0) / Math.max(measured.length, 1);
  part("facts", "At a glance", el("div", {class: "facts"}, [["Pairs", grouped(pairs.length)], ["Equal", grouped(equal)], ["Mean difference", `${number(mean)} of 255`], ["Largest", `${measured.reduce((m, p) => Math.max(m, p.most), 0)} of 255`]]
      .map(([name, value]) => el("div", {class: "fact"}, el("span", {class: "label"}, name), el("b", null, value)))));
  const stage = wipeStage(), caption = el("p", {class: "prompt", id: "caption"}), body = el("tbody"), list = pairs.map((p, i) => ({...p, i}));
  let chosen = null;
  const decibel = (p) => p.psnr === undefined ? "" : p.psnr === "inf" ? "equal" : `${p.psnr.toFixed(2)} dB`;
  const choose = (pair, focus) => {
    chosen = pair.i;
    for (const row of body.children) row.classList.toggle("chosen", Number(row.dataset.pair) === chosen);
    caption.textContent = `${pair.name}: ${pair.problem || `mean ${number(pair.mean)}, largest ${pair.most}, ${decibel(pair)}`}`;
    stage.classList.toggle("nothing", !pair.a);
    if (pair.a) stage.show({uri: pair.a, name: a, width: pair.size_a[0], alt: pair.name}, {uri: pair.b, name: b, width: pair.size_b[0], alt: pair.name});
    if (focus) body.querySelector(".chosen button").focus();
  };
  const orders = {difference: (x, y) => (y.mean ?? 256) - (x.mean ?? 256) || x.i - y.i, name: (x, y) => x.i - y.i};
  const order = el("select", {id: "order", change: () => fill()}, option("difference", "difference"), option("name", "name"));
  const fill = () => {
    list.sort(orders[order.value]);
    body.replaceChildren(...list.map((p) => el("tr", {"data-pair": p.i, class: p.i === chosen ? "chosen" : null, click: () => choose(p)}, el("th", {scope: "row"}, el("button", {type: "button", class: "link"}, p.name)),
        p.problem ? el("td", {colspan: 3}, p.problem) : [el("td", {class: "number"}, number(p.mean)), el("td", {class: "number"}, String(p.most)), el("td", {class: "number"}, decibel(p))])));
  };
  body.addEventListener("keydown", (event) => {
    const to = list.findIndex((p) => p.i === chosen) + (event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : NaN);
    if (!(to >= 0 && to < list.length)) return;
    choose(list[to], true);
    event.preventDefault();
  });
  fill();
  part("pictures", "Pictures", el("div", {class: "beside"}, el("div", null, caption, stage), el("div", null, el("div", {class: "controls"}, el("label", {for: "order"}, "Sorted by", order)),
      el("div", {class: "scroll tall"}, el("table", {id: "pairs"}, el("thead", null, el("tr", null, ["Name", "Mean", "Largest", "PSNR"].map((h, i) => el("th", {scope: "col", class: i ? "number" : null}, h)))), body)))),
      el("p", {class: "hint"}, `Differences are of 255 over all values, measured on the files. Shown are at most ${data.side} pixels a side${data.shown < pairs.length ? `, and pictures of the ${data.shown} most different pairs` : ""}.`));
  for (const [id, folder, names] of [["only-a", a, data.only_a], ["only-b", b, data.only_b]])
    if (names.length) part(id, `Only in ${folder}`, el("ul", {class: "names"}, names.slice(0, 500).map((n) => el("li", null, n))), names.length > 500 ? el("p", {class: "hint"}, `and ${grouped(names.length - 500)} more`) : null);
  choose(list[0]);
}

if (data.kind === "runs") {
  byId("what").textContent = data.runs.map((r) => r.name).join(" · ");
  runTable(data.runs);
  settingTable(data.runs, data.differences);
  overlaid(data.runs);
  pictureStage(data.runs, data.pictures);
} else {
  folderPairs();
}
byId("contents").append(...[...document.querySelectorAll("main section")].map((s) => el("a", {href: `#${s.id}`}, s.querySelector("h2").textContent)));
document.body.append(footer());
