// Eigenvalues of a network's recurrent matrix, training step by training step, over those of the theory.

const LOSS_WIDTH = 400;
const LOSS_HEIGHT = 70;

function render({ model, el }) {
  const [steps, losses, threshold, theory] = ["steps", "losses", "threshold", "theory"].map((name) => model.get(name));
  const values = floats(model.get("frames")); // F × N × (real, imaginary), each dot on one path through the frames
  const plane = complexPlane({ values, count: values.length / steps.length / 2, theory, threshold });
  const status = statusLine();
  const lossCurve = lossPlot(losses);

  function describe(frame) {
    return `step ${steps[frame]}: ${plane.describe(frame)}; loss ${losses[frame].toPrecision(2)}`;
  }

  function onMove(frame) {
    plane.show(frame, `Complex plane at ${describe(frame)}`);
    lossCurve.mark(frame);
    status.textContent = describe(frame);
    model.set("frame", frame);
    model.save_changes();
  }

  const last = steps.length - 1;
  const start = Math.min(model.get("frame"), last);
  const time = timeline({ label: "Training step", last, start, period: 250, status, describe, onMove });
  const follow = () => model.get("frame") !== time.position() && time.show(model.get("frame"));
  model.on("change:frame", follow);

  const root = html("div", { class: "emt-explorer emt-film" }, plane.element, plane.key, time.element, status, lossCurve.element);
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
  const x = (i) => 8 + (LOSS_WIDTH - 16) * (losses.length > 1 ? i / (losses.length - 1) : 0);
  const y = (i) => 8 + (LOSS_HEIGHT - 16) * (high > low ? (high - logs[i]) / (high - low) : 0.5);
  const points = losses.map((_, i) => `${x(i)},${y(i)}`).join(" ");
  const label = `Loss, logarithmic, from ${losses[0].toPrecision(2)} to ${losses.at(-1).toPrecision(2)}`;
  const marker = svg("circle", { r: 6, class: "emt-dot" });
  const viewBox = `0 0 ${LOSS_WIDTH} ${LOSS_HEIGHT}`;
  const picture = svg("svg", { viewBox, class: "emt-loss", role: "img", "aria-label": label });
  picture.append(svg("polyline", { points, class: "emt-line" }), marker);
  const mark = (i) => (marker.style.transform = `translate(${x(i)}px, ${y(i)}px)`);
  return { element: html("div", {}, html("p", { class: "emt-heading" }, "loss (logarithmic)"), picture), mark };
}

export default { render };
