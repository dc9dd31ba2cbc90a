// Eigenvalues of a network's recurrent matrix, training step by training step, over those of the theory.

const SIZE = 400;
const LOSS_HEIGHT = 70;

function render({ model, el }) {
  const [steps, losses, threshold] = ["steps", "losses", "threshold"].map((name) => model.get(name));
  const theory = model.get("theory"); // [[real, imaginary, multiplicity], ...]
  const values = floats(model.get("frames")); // F × N × (real, imaginary), each dot on one path through the frames
  const count = values.length / steps.length / 2;
  const expected = theory.reduce((sum, [re, im, n]) => sum + (Math.hypot(re, im) > threshold ? n : 0), 0);

  const reach = Math.max(1.3, 1.05 * values.reduce((most, x) => Math.max(most, Math.abs(x)), 0));
  const scale = SIZE / 2 / reach;
  const x = (re) => SIZE / 2 + scale * re;
  const y = (im) => SIZE / 2 - scale * im;

  const plane = svg("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, class: "emt-plane", role: "img" });
  plane.append(
    svg("path", { d: `M0 ${y(0)}H${SIZE}M${x(0)} 0V${SIZE}`, class: "emt-axis" }),
    svg("circle", { cx: x(0), cy: y(0), r: scale, class: "emt-unit" }),
    svg("circle", { cx: x(0), cy: y(0), r: scale * threshold, class: "emt-unit emt-dashed" }),
  );
  for (const [re, im, n] of theory) {
    plane.append(svg("circle", { cx: x(re), cy: y(im), r: 8, class: "emt-ring" }));
    const modulus = Math.hypot(re, im);
    if (n < 2 || modulus <= threshold) continue;
    const away = 1 + 26 / (scale * modulus);
    plane.append(svg("text", { x: x(re * away), y: y(im * away) + 5, class: "emt-text" }, `×${n}`));
  }
  const dots = Array.from({ length: count }, () => plane.appendChild(svg("circle", { r: 4, class: "emt-dot" })));

  const status = statusLine();
  const key = html("p", { class: "emt-key" });
  for (const [mark, text] of [["emt-dot", "learned"], ["emt-ring", "theory (×: multiplicity)"]]) {
    const picture = svg("svg", { viewBox: "0 0 18 18", "aria-hidden": "true" });
    picture.append(svg("circle", { cx: 9, cy: 9, r: mark === "emt-dot" ? 5 : 7, class: mark }));
    key.append(html("span", {}, picture, text));
  }
  key.append(html("span", {}, `dashed: radius ${threshold.toFixed(2)}`));

  const lossCurve = losses.length ? lossPlot(losses) : null;

  function describe(frame) {
    let outside = 0;
    for (let i = 0; i < count; i++) {
      const at = 2 * (frame * count + i);
      if (Math.hypot(values[at], values[at + 1]) > threshold) outside++;
    }
    const loss = losses.length ? `; loss ${losses[frame].toPrecision(2)}` : "";
    return `step ${steps[frame]}: ${outside} eigenvalues outside radius ${threshold.toFixed(2)}, theory ${expected}${loss}`;
  }

  function onMove(frame) {
    dots.forEach((dot, i) => {
      const at = 2 * (frame * count + i);
      dot.style.transform = `translate(${x(values[at])}px, ${y(values[at + 1])}px)`;
    });
    lossCurve?.mark(frame);
    status.textContent = describe(frame);
    plane.setAttribute("aria-label", `Complex plane at ${describe(frame)}`);
    model.set("frame", frame);
    model.save_changes();
  }

  const last = steps.length - 1;
  const start = Math.min(model.get("frame"), last);
  const time = timeline({ label: "Training step", last, start, period: 250, status, describe, onMove });
  const follow = () => model.get("frame") !== time.position() && time.show(model.get("frame"));
  model.on("change:frame", follow);

  const root = html("div", { class: "emt-explorer emt-film" }, plane, key, time.element, status);
  if (lossCurve) root.append(lossCurve.element);
  if (model.get("caption")) root.append(html("p", { class: "emt-caption" }, model.get("caption")));
  el.append(root);
  time.show(start);
  return () => {
    time.stop();
    model.off("change:frame", follow);
  };
}

// The loss on a logarithmic scale, evenly spaced over the frames, with a marker at the one shown.
function lossPlot(losses) {
  const logs = losses.map((loss) => Math.log10(Math.max(loss, 1e-12)));
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  const x = (i) => 8 + (SIZE - 16) * (losses.length > 1 ? i / (losses.length - 1) : 0);
  const y = (i) => 8 + (LOSS_HEIGHT - 16) * (high > low ? (high - logs[i]) / (high - low) : 0.5);
  const points = losses.map((_, i) => `${x(i)},${y(i)}`).join(" ");
  const label = `Loss, logarithmic, from ${losses[0].toPrecision(2)} to ${losses.at(-1).toPrecision(2)}`;
  const marker = svg("circle", { r: 6, class: "emt-dot" });
  const picture = svg("svg", { viewBox: `0 0 ${SIZE} ${LOSS_HEIGHT}`, class: "emt-loss", role: "img", "aria-label": label });
  picture.append(svg("polyline", { points, class: "emt-line" }), marker);
  const mark = (i) => (marker.style.transform = `translate(${x(i)}px, ${y(i)}px)`);
  return { element: html("div", {}, html("p", { class: "emt-heading" }, "loss (logarithmic)"), picture), mark };
}

export default { render };
