"use strict";
// Two pictures on one spot: a wipe that is dragged or moved by keys, side by side, or their difference made visible.

function wipeStage() {
  const under = el("img", {class: "under", alt: "", draggable: "false"}), over = el("img", {class: "over", alt: "", draggable: "false"});
  const bar = el("div", {class: "bar"}), names = [el("span", {class: "corner left"}), el("span", {class: "corner right"})];
  const frame = el("div", {class: "frame"}, under, over, bar, ...names);
  const range = el("input", {type: "range", id: "wipe", min: 0, max: 100, step: 0.5, value: 50, "aria-label": "Wipe between the two pictures"});
  const mode = el("select", {id: "mode", "aria-label": "How two pictures are shown"}, el("option", {value: "wipe"}, "wipe"),
                  el("option", {value: "side"}, "side by side"), el("option", {value: "difference"}, "difference × 8"));
  const stage = el("div", {class: "stage", "data-mode": "wipe"}, frame, el("div", {class: "controls"}, el("label", {for: "mode"}, "Show as", mode), el("label", {for: "wipe", class: "grow"}, "Wipe", range)));
  const set = (share) => {
    range.value = share;
    over.style.clipPath = stage.dataset.mode === "wipe" ? `inset(0 ${100 - share}% 0 0)` : "none";
    bar.style.left = `${share}%`;
  };
  const drag = (event) => {
    if (stage.dataset.mode !== "wipe" || (event.type === "pointermove" && event.buttons !== 1)) return;
    const box = frame.getBoundingClientRect();
    set(Math.min(100, Math.max(0, 100 * (event.clientX - box.left) / box.width)));
  };
  frame.addEventListener("pointerdown", (event) => {
    frame.setPointerCapture(event.pointerId);
    drag(event);
    event.preventDefault();
  });
  frame.addEventListener("pointermove", drag);
  range.addEventListener("input", () => set(Number(range.value)));
  mode.addEventListener("change", () => {
    stage.dataset.mode = mode.value;
    range.disabled = mode.value !== "wipe";
    set(Number(range.value));
  });
  // The left one lies above and is cut off at the bar.
  stage.show = (left, right) => {
    over.src = left.uri, under.src = right.uri;
    over.alt = `${left.name}: ${left.alt || ""}`, under.alt = `${right.name}: ${right.alt || ""}`;
    names[0].textContent = left.name, names[1].textContent = right.name;
    frame.classList.toggle("pixels", Boolean(left.width && left.width < 128));
  };
  set(50);
  return stage;
}
