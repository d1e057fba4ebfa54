"use strict";
// report.html: fills the parts of the page from `data`, and leaves out those that have nothing to show.

function showTop() {
  byId("name").textContent = data.name;
  const chosen = data.chosen || {};
  byId("what").textContent = [chosen.model, chosen.task, chosen.loss].filter(Boolean).join(" · ");
  byId("state").append(chip(data.status), el("p", {class: "what"}, data.began ? `begun ${data.began} UTC` : ""));
  const fact = (name, value, more) => value === null ? null : el("div", {class: "fact"}, el("span", {class: "label"}, name), el("b", null, value), more ? el("span", {class: "more"}, more) : null);
  const share = data.total ? Math.min(1, data.step / data.total) : null;
  const done = fact("Steps", grouped(data.step), data.total ? `of ${grouped(data.total)}` : null);
  if (share !== null) done.append(el("progress", {max: 1, value: share, "aria-label": "share of the steps that are done"}));
  byId("facts").append(...[
    done, fact("Loss", data.loss === null ? null : number(data.loss), `mean of the last ${grouped(Math.min(50 * data.curves.steps_per_point, data.step))} steps`),
    fact("Images per second", data.images_per_second === null ? null : number(data.images_per_second), "lately"),
    fact("Time in steps", data.seconds ? duration(data.seconds) : null, data.seconds ? `${percent(data.waiting_seconds / data.seconds)} waiting for data` : null),
    fact("Most memory", data.peak_memory_bytes === null ? null : bytes(data.peak_memory_bytes)),
    fact("Epochs", data.epoch ? String(Number(data.epoch.toPrecision(4))) : null),
  ].filter(Boolean));
}

function leaveOut(id) {
  byId(id).remove();
}

// ---- curves ----

function lineOf(series, color, points, extra) {
  return {label: seriesNames[series.name] || series.name, color, points, mean: series.mean, low: series.low, high: series.high, missing: series.missing, ...extra};
}

// Is one series the other, point for point?
const same = (a, b) => a.mean.length === b.mean.length && a.mean.every((y, i) => y === b.mean[i]);

function showCurves() {
  const {series, steps, epochs, seconds, steps_per_point: width} = data.curves;
  if (!steps.length) {
    byId("controls").remove();
    byId("charts").append(el("p", {class: "hint"}, "No step has been logged yet."));
    return;
  }
  chartControls(byId("controls"));
  const points = {steps, epochs, seconds}, used = new Set(["epoch"]);
  const marks = data.resumes.map((r) => ({step: r.step + 1, text: `went on after step ${grouped(r.step)}, ${r.time} UTC`}));
  const add = (plan, picked) => {
    if (!picked.length) return;
    const loss = picked.find((s) => s.name === "loss");
    picked = picked.filter((s) => !(s.name === "raw_loss" && loss && same(s, loss)));
    new Chart(byId("charts"), {...plan, marks, lines: picked.map((s, i) => lineOf(s, i, points, {smooth: plan.smooth, dash: s.name === "raw_loss"}))});
  };
  for (const plan of chartPlan) {
    const picked = series.filter((s) => plan.pick(s.name));
    picked.forEach((s) => used.add(s.name));
    add(plan, picked);
  }
  for (const s of series) if (!used.has(s.name)) add({title: s.name, smooth: s.name.startsWith("grad/")}, [s]);
  const hints = ["Drag to zoom, double-click to see all; with the keyboard: Tab to a chart, arrows, + and −, Escape."];
  if (width > 1) hints.push(`A point stands for ${grouped(width)} steps: the line is their mean, the band reaches from the smallest to the largest.`);
  if (data.resumes.length) hints.push(`Dashed lines: the run went on after an interruption (${data.resumes.length === 1 ? "once" : data.resumes.length + " times"}).`);
  if (series.some((s) => s.missing.length)) hints.push("Triangles: values that were no number.");
  if (data.unread_lines) hints.push(`${grouped(data.unread_lines)} damaged lines of metrics.jsonl were passed over.`);
  if (data.unfinished_line) hints.push("The last line of metrics.jsonl was not finished and is not shown.");
  byId("curves-hint").textContent = hints.join(" ");
}

// ---- pictures ----

function showPictures() {
  const {steps, rows, files, side, shrunk, left_out_steps: leftOut} = data.pictures;
  if (!rows.length) return leaveOut("pictures");
  let at = steps.length - 1, timer = null;
  const label = el("output", {id: "picture-step"}), slider = el("input", {type: "range", id: "step", min: 0, max: steps.length - 1, step: 1, value: at});
  const play = el("button", {type: "button", id: "play"}, "Play");
  byId("picture-controls").append(el("label", {for: "step", class: "grow"}, "Step", slider), label, play);
  const edits = rows.some((row) => row.source !== null);
  const shots = rows.map((row, r) => {
    const spot = el("button", {type: "button", class: "shot", "aria-label": `Show larger: ${row.prompt}`, click: () => open(r)});
    const source = row.source === null ? null : el("div", {class: "source"}, picture(files[row.source].uri, `what was edited: ${row.prompt}`, files[row.source].width), el("span", {class: "corner left"}, "input"));
    byId("grid").append(el("figure", {class: "sample"}, el("div", {class: "pair"}, source, spot), el("figcaption", null, el("span", {class: "prompt"}, row.prompt || "(no text)"), row.seed ? el("span", {class: "seed"}, `seed ${row.seed}`) : null)));
    return spot;
  });
  byId("grid").classList.toggle("edits", edits);
  const dialog = byId("large");
  let opened = null;
  const fill = () => {
    slider.value = at;
    label.textContent = `${grouped(steps[at])} (${at + 1} of ${steps.length})`;
    slider.setAttribute("aria-valuetext", `step ${steps[at]}`);
    rows.forEach((row, r) => {
      const file = row.frames[at];
      shots[r].replaceChildren(file === null ? el("span", {class: "none"}, "not drawn at this step") : picture(files[file].uri, `${row.prompt}, step ${steps[at]}`, files[file].width));
    });
    if (opened !== null) enlarge();
  };
  const enlarge = () => {
    const row = rows[opened], file = row.frames[at];
    dialog.replaceChildren(
        file === null ? el("p", null, "not drawn at this step") : picture(files[file].uri, `${row.prompt}, step ${steps[at]}`, files[file].width),
        el("p", null, `step ${grouped(steps[at])} · ${row.prompt}`, el("br"), el("span", {class: "hint"}, "← → other steps, ↑ ↓ other pictures, Escape closes")),
        el("form", {method: "dialog"}, el("button", null, "Close")));
  };
  const open = (r) => {
    opened = r;
    enlarge();
    dialog.showModal();
  };
  const go = (to) => {
    at = Math.min(Math.max(to, 0), steps.length - 1);
    fill();
  };
  dialog.addEventListener("close", () => opened = null);
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") go(at + (event.key === "ArrowLeft" ? -1 : 1));
    else if (event.key === "ArrowUp" || event.key === "ArrowDown") opened = Math.min(Math.max(opened + (event.key === "ArrowUp" ? -1 : 1), 0), rows.length - 1), enlarge();
    else return;
    event.preventDefault();
  });
  slider.addEventListener("input", () => go(Number(slider.value)));
  play.addEventListener("click", () => {
    clearInterval(timer);
    timer = timer ? null : setInterval(() => go((at + 1) % steps.length), 600);
    play.textContent = timer ? "Stop" : "Play";
  });
  play.disabled = steps.length < 2;
  const hints = [];
  if (shrunk) hints.push(`Pictures are at most ${side} pixels wide and high here, and lightly compressed; the files are in validation_images/.`);
  if (leftOut) hints.push(`${grouped(leftOut)} steps between are left out, to keep this page small.`);
  byId("pictures-hint").textContent = hints.join(" ");
  fill();
}

// ---- messages, data, configuration ----

function showMessages() {
  const loud = data.events.filter((e) => ["error", "warning", "notice", "skipped"].includes(e.kind) || (e.kind === "start" && e.step > 0));
  const texts = {start: (e) => `went on after step ${grouped(e.step)}`};
  const item = (e) => el("li", {class: e.kind === "start" ? "resume" : e.kind}, el("span", {class: "when"}, `${e.time || ""} · step ${grouped(e.step || 0)}`), el("span", {class: "kind"}, e.kind === "start" ? "resumed" : e.kind),
                         el("span", {class: "text"}, texts[e.kind] ? texts[e.kind](e) : e.text || ""));
  const list = byId("message-list");
  if (loud.length) list.append(el("ul", {class: "events"}, loud.map(item)));
  const bad = data.bad_samples;
  if (bad.count) {
    const rows = bad.first.map((b) => el("tr", null, el("td", {class: "number"}, String(b.row ?? "")), el("td", null, String(b.where ?? "")), el("td", null, String(b.error ?? "")), el("td", null, String(b.id ?? ""))));
    list.append(el("details", {id: "bad"}, el("summary", null, `${grouped(bad.count)} ${bad.count === 1 ? "sample was" : "samples were"} left out`),
                   el("div", {class: "scroll"}, el("table", null, el("thead", null, el("tr", null, ["Row", "Where", "Why", "Id"].map((t) => el("th", {scope: "col"}, t)))), el("tbody", null, rows))),
                   bad.count > rows.length ? el("p", {class: "hint"}, `The others are in bad_samples.jsonl.`) : null));
  }
  const quiet = data.events.filter((e) => !loud.includes(e) && e.text && e.kind !== "end");
  if (quiet.length) list.append(el("details", null, el("summary", null, "Everything else that the run said"), el("ul", {class: "events"}, quiet.map(item))));
  if (!list.children.length) leaveOut("messages");
}

function showData() {
  const facts = data.data;
  if (!facts) return leaveOut("samples");
  const names = {path: "Folder", samples: "Samples", left_out: "Left out", samples_per_step: "Samples of a step", steps_per_epoch: "Steps of an epoch", resolution: "Resolution"};
  const text = (value) => Array.isArray(value) ? value.map(text).join(", ") : value !== null && typeof value === "object" ? Object.entries(value).map(([k, v]) => `${k}: ${text(v)}`).join(", ") : typeof value === "number" ? number(value) : String(value);
  const list = el("dl", {class: "pairs"});
  for (const [key, value] of Object.entries(facts)) {
    if (key === "buckets" || value === null || value === "") continue;
    list.append(el("dt", null, names[key] || key.replaceAll("_", " ")), el("dd", null, text(value)));
  }
  byId("data-facts").append(list);
  const buckets = Array.isArray(facts.buckets) ? facts.buckets.filter((b) => b && b.width > 0 && b.height > 0) : [];
  if (!buckets.length) return;
  const most = Math.max(...buckets.map((b) => b.samples || 0), 1), all = buckets.reduce((sum, b) => sum + (b.samples || 0), 0);
  buckets.sort((a, b) => a.width / a.height - b.width / b.height || a.width - b.width);
  const rows = buckets.map((b) => {
    const shape = el("span", {class: "shape"}), bar = el("span", {class: "bar"}), unit = 22 / Math.max(b.width, b.height);
    shape.style.width = `${b.width * unit}px`, shape.style.height = `${b.height * unit}px`;
    bar.style.width = `${100 * (b.samples || 0) / most}%`;
    return el("tr", null, el("td", {class: "shape-cell"}, shape), el("th", {scope: "row"}, `${b.width} × ${b.height}`), el("td", {class: "bar-cell"}, bar),
              el("td", {class: "number"}, grouped(b.samples || 0)), el("td", {class: "number soft"}, percent((b.samples || 0) / Math.max(all, 1))));
  });
  byId("data-facts").append(el("h3", null, buckets.length === 1 ? "One size" : `${buckets.length} buckets`), el("table", {class: "buckets", id: "buckets"}, el("caption", {class: "hidden"}, "Samples by size"), el("tbody", null, rows)));
}

function showSettings() {
  const place = byId("config");
  if (!data.config) {
    place.append(el("p", {class: "problem"}, data.config_problem || "There is no config.yaml."));
    if (data.config_text) place.append(el("pre", null, data.config_text));
    return;
  }
  const changed = data.config.reduce((sum, s) => sum + s.keys.filter((k) => k.changed).length, 0);
  const only = el("input", {type: "checkbox", id: "only-changed", change: (event) => place.classList.toggle("only-changed", event.target.checked)});
  place.append(el("div", {class: "controls"}, el("label", {for: "only-changed"}, only, `Only what was set (${changed})`), el("span", {class: "hint"}, "Defaults are grey.")));
  for (const section of data.config) {
    const rows = section.keys.map((key) => el("tr", {class: key.changed ? "set" : "default"}, el("th", {scope: "row"}, section.section ? key.key.slice(section.section.length + 1) : key.key),
        el("td", null, el("code", null, key.value), key.changed ? el("span", {class: "was"}, `default ${key.default}`) : null), el("td", {class: "doc"}, key.doc)));
    const set = section.keys.some((k) => k.changed);
    place.append(el("details", {open: set, class: set ? "" : "all-default"}, el("summary", null, el("b", null, section.section || "top"), ` ${section.doc}`), el("div", {class: "scroll"}, el("table", {class: "settings"}, el("tbody", null, rows)))));
  }
}

showTop();
showCurves();
showPictures();
showMessages();
showData();
showSettings();
byId("contents").append(...[...document.querySelectorAll("main section")].map((s) => el("a", {href: `#${s.id}`}, s.querySelector("h2").textContent)));
document.body.append(footer());
