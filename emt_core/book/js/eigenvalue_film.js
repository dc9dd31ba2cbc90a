// Eigenvalues of a network's recurrent matrix, training step by training step, over those of the theory; beside them how
// many are found and the loss, against the step. A cursor in both is at the film's picture, and a press there moves it.

const LEAST = 1e-12; // a loss on a logarithmic axis

function render({ model, el }) {
  const [steps, losses, threshold, theory] = ["steps", "losses", "threshold", "theory"].map((name) => model.get(name));
  const values = floats(model.get("frames")); // F × N × (real, imaginary), each dot on one path through the frames
  const plane = complexPlane({ values, count: values.length / steps.length / 2, theory, threshold });
  const last = steps.length - 1;
  const status = statusLine();
  const counts = steps.map((_, frame) => plane.outside(frame));
  const logs = losses.map((loss) => Math.log10(Math.max(loss, LEAST)));

  const most = Math.max(...counts, plane.expected, 1);
  const stairs = against([0, 1.06 * most], ticks(0, most, 4));
  const rule = svg("path", { d: `M${LEFT} ${stairs.y(plane.expected)}H${WIDTH - RIGHT}`, class: "emt-rule" });
  const corners = steps.flatMap((step, i) => [...(i ? [[step, counts[i - 1]]] : []), [step, counts[i]]]);
  stairs.draw(rule, svg("polyline", { points: stairs.points(...transposed(corners)), class: "emt-line" }));
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  const spare = 0.06 * (high - low) || 0.3;
  const curve = against([low - spare, high + spare], powers(low - spare, high + spare));
  curve.draw(svg("polyline", { points: curve.points(steps, logs), class: "emt-line" }));

  // Axes over the training steps, with the cursor and a dot on the line.
  function against(ys, rungs) {
    const ends = last ? [steps[0], steps[last]] : [steps[0] - 1, steps[0] + 1];
    const plot = panel(130, 8, ends, ys, ticks(...ends, 4), rungs);
    const cursor = svg("path", { d: `M0 8V${130 - BOTTOM}`, class: "emt-cursor" });
    const dot = svg("circle", { r: 5, class: "emt-dot" });
    const draw = (...lines) => plot.element.append(...lines, cursor, dot);
    function mark(frame, value, label) {
      cursor.setAttribute("transform", `translate(${plot.x(steps[frame])} 0)`);
      dot.style.transform = `translate(${plot.x(steps[frame])}px, ${plot.y(value)}px)`;
      plot.element.setAttribute("aria-label", label);
    }
    pickable(plot, steps, (frame) => {
      time.stop();
      time.show(frame);
    });
    return { ...plot, draw, mark };
  }

  function describe(frame) {
    return `step ${steps[frame]}: ${plane.describe(frame)}; loss ${losses[frame].toPrecision(2)}`;
  }

  function onMove(frame) {
    plane.show(frame, `Complex plane at ${describe(frame)}`);
    stairs.mark(frame, counts[frame],
      `Eigenvalues found against training step, from ${counts[0]} to ${counts[last]}; at ${describe(frame)}`);
    const [first, final] = [losses[0], losses[last]].map((loss) => loss.toPrecision(2));
    curve.mark(frame, logs[frame], `Loss, logarithmic, against training step, from ${first} to ${final}`);
    status.textContent = describe(frame);
    model.set("frame", frame);
    model.save_changes();
  }

  const start = clamp(model.get("frame"), 0, last);
  const time = timeline({ label: "Training step", last, start, period: 250, status, describe, onMove });
  const follow = () => model.get("frame") !== time.position() && time.show(model.get("frame"));
  model.on("change:frame", follow);
  const nearest = (step) => steps.reduce((best, at, i) => (Math.abs(at - step) < Math.abs(steps[best] - step) ? i : best), 0);
  const deaf = heed(model, el, ["frame"], { step: (step) => ({ frame: nearest(step) }) });

  el.append(html("div", { class: "emt-explorer emt-film" },
    html("div", { class: "emt-pair" },
      html("div", {}, plane.element, plane.key),
      html("div", {},
        note("heading", `eigenvalues outside radius ${threshold.toFixed(2)} (dashed: theory)`), stairs.element,
        note("heading", "loss (logarithmic), against training step"), curve.element)),
    time.element, status, note("key", "Press on a curve to see that moment of training."), ...captionOf(model)));
  time.show(start);
  return () => {
    time.stop();
    deaf();
    model.off("change:frame", follow);
  };
}

const transposed = (pairs) => [pairs.map(([a]) => a), pairs.map(([, b]) => b)];

export default { render };
