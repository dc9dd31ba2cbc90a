// Networks that have read a sequence and run on without input, h ← tanh(W_hh h), o = W_r h; the reader's kicks, and beside
// the kicked network its twin, which is not. In float64, from weights in float32.

const SHOWN = 32; // outputs in a strip
const CELL = 10;
const [HIGH, TOP] = [190, 10];
const [FLOOR, CEILING] = [-17, 1]; // powers of ten on the axis of distances; what is below float64's 2e-16 is 0
const FINEST = 600; // stretches of the curve: longer runs are drawn by the least and the largest of each
const KINDS = ["any direction", "within the memories", "outside the memories"];

// matrix (row-major, rows × vector.length) times vector
function times(matrix, vector) {
  const out = new Float64Array(matrix.length / vector.length);
  for (let i = 0, at = 0; i < out.length; i++) {
    let sum = 0;
    for (let j = 0; j < vector.length; j++) sum += matrix[at++] * vector[j];
    out[i] = sum;
  }
  return out;
}

const norm = (vector) => Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));

// A unit vector, always the same one for a key. frame: (N, rank), orthonormal columns that span the memories.
export function direction(frame, size, kind, key) {
  let bits = Math.imul(key, 0x9e3779b9) || 1; // xorshift32 (Marsaglia 2003), from a seed of many bits
  const uniform = () => {
    bits ^= bits << 13;
    bits ^= bits >>> 17;
    bits ^= bits << 5;
    return (bits >>> 0) / 2 ** 32; // never 0
  };
  const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  const drawn = Float64Array.from({ length: size }, normal);
  const rank = frame.length / size;
  const inside = new Float64Array(size);
  for (let r = 0; r < rank; r++) {
    const along = drawn.reduce((sum, value, i) => sum + value * frame[i * rank + r], 0);
    for (let i = 0; i < size; i++) inside[i] += along * frame[i * rank + r];
  }
  const kept = drawn.map((value, i) => [value, inside[i], value - inside[i]][kind]);
  const length = norm(kept);
  return kept.map((value) => value / length);
}

// A run that is computed as far as it is looked at. sequence: S rows of D signs, read first; kicks: [[step, size, kind,
// key], ...]. At index t of the record, of the network and its twin what they write at step t (0: nothing yet) beside what
// is right, and how far they are apart after it and its kicks, relative to the twin.
export function begin(weights, sequence, kicks) {
  const [record, past] = [{ written: [[]], twin: [[]], right: [[]], apart: [] }, [...sequence]];
  const next = (h) => times(weights.W_hh, h).map(Math.tanh);
  let twin = new Float64Array(weights.W_r.length / sequence[0].length);
  for (const input of sequence) {
    const drive = times(weights.W_uh, input);
    twin = times(weights.W_hh, twin).map((value, i) => Math.tanh(value + drive[i]));
  }
  let h = twin;
  function arrive() {
    for (const [step, size, kind, key] of kicks) {
      if (step !== record.apart.length) continue;
      const by = size * norm(h);
      const along = direction(weights.frame, h.length, kind, key);
      h = h.map((value, i) => value + by * along[i]);
    }
    const gap = norm(h.map((value, i) => value - twin[i]));
    record.apart.push(gap && gap / norm(twin)); // 0 also where both have died out
  }
  arrive();
  function advance(to) {
    while (record.apart.length <= to) {
      [h, twin] = [next(h), next(twin)];
      past.push([...times(weights.operator, past.slice(-sequence.length).flat())]);
      record.written.push(times(weights.W_r, h));
      record.twin.push(times(weights.W_r, twin));
      record.right.push(past.at(-1));
      arrive();
    }
    return record;
  }
  return { record, advance };
}

// 100, 200, 500, 1000, …
function roundUp(steps) {
  const power = 10 ** Math.max(2, Math.floor(Math.log10(steps || 1)));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= steps);
}
const firstShown = (t) => Math.max(1, t - SHOWN + 1);

// How many signs of the outputs shown at step t are right.
function share(outputs, right, t) {
  const [signs, due] = [outputs, right].map((rows) => rows.slice(firstShown(t), t + 1).flatMap((row) => [...row]));
  const same = signs.filter((value, i) => value >= 0 === due[i] >= 0).length;
  return `${Math.floor((100 * same) / signs.length)} %`; // 100 % only where all are
}

// One column a step, one row a dimension. Area tells the modulus; a filled square is plus, a ring is minus; a frame: wrong.
function strip(dim) {
  const picture = svg("svg", { viewBox: `0 0 ${SHOWN * CELL} ${dim * CELL}`, class: "emt-strip", role: "img" });
  function show(outputs, right, t, kicks, label) {
    const first = firstShown(t);
    const marks = [];
    const frames = [];
    for (let step = first; step <= t; step++) {
      const left = (step - first) * CELL;
      outputs[step].forEach((value, d) => {
        const [size, middle] = [0.8 * CELL * Math.sqrt(Math.min(1, Math.abs(value))), (d + 0.5) * CELL];
        const square = { x: left + (CELL - size) / 2, y: middle - size / 2, width: size, height: size };
        marks.push(value >= 0
          ? svg("rect", { ...square, class: "emt-plus" })
          : svg("circle", { cx: left + CELL / 2, cy: middle, r: Math.max(0, size / 2 - 0.6), class: "emt-minus" }));
        if (value >= 0 === right[step][d] >= 0) return;
        const box = { x: left + 0.8, y: d * CELL + 0.8, width: CELL - 1.6, height: CELL - 1.6 };
        frames.push(svg("rect", { ...box, class: "emt-cross" }));
      });
    }
    const edges = kicks.filter(([step]) => step >= first - 1 && step <= t).map(([step]) =>
      svg("path", { d: `M${(step - first + 1) * CELL} 0V${dim * CELL}`, class: "emt-changed" }));
    picture.replaceChildren(...marks, ...frames, ...edges);
    picture.setAttribute("aria-label", label);
  }
  return { element: picture, show };
}

function render({ model, el }) {
  const [dim, last, signs] = ["dim", "steps", "inputs"].map((name) => model.get(name));
  const sequence = Array.from({ length: signs.length / dim }, (_, t) => signs.slice(t * dim, (t + 1) * dim));
  const networks = model.get("networks").map(({ name, ...packed }) => ({
    name, weights: Object.fromEntries(Object.entries(packed).map(([key, text]) => [key, floats(text)])),
  }));
  const names = networks.map(({ name }) => name);
  let [run, made, plot, extent] = [null, "", null, 0];

  const status = statusLine();
  const { put, release } = shared(model, ["network", "kicks", "step", "size", "kind"], redraw);
  const which = () => clamp(model.get("network"), 0, names.length - 1);
  const now = () => clamp(model.get("step"), 0, last);
  const size = () => clamp(model.get("size"), 0, 1);
  const kind = () => clamp(model.get("kind"), 0, KINDS.length - 1);
  const listed = () => model.get("kicks").map(([step, size, kind = 0, key], i) =>
    [step, clamp(size, 0, 1), clamp(kind, 0, KINDS.length - 1), key ?? i + 1]);
  const count = (step) => step.toLocaleString("en");

  const networkMenu = menu("Network", names, (network) => put({ network }));
  const kindMenu = menu("Direction of the next kick", KINDS, (kind) => put({ kind }));
  const sizeSlider = slider("Kick size", 0, 1, 0.01, (size) => put({ size }));
  const kick = button("Kick", strike, { "aria-keyshortcuts": "K" });
  const ahead = [100, 1000].map((more) => button(`+${more} steps`, () => leave({ step: Math.min(now() + more, last) })));
  const restart = button("Restart", () => leave({ step: 0, kicks: [] }));
  const [writtenHeading, twinHeading] = [note("heading"), note("heading")];
  const [written, twin] = [strip(dim), strip(dim)];
  const drawing = html("div");
  const [marks, curve] = [svg("g"), svg("polyline", { class: "emt-trace", style: "--hue: 250" })];
  const cursor = svg("path", { d: `M0 ${TOP}V${HIGH - BOTTOM}`, class: "emt-cursor" });

  function leave(changes) {
    time.stop();
    put(changes);
  }
  // What was after this step has not happened then.
  function strike() {
    const kicks = listed().filter(([step]) => step <= now());
    put({ kicks: [...kicks, [now(), size(), kind(), kicks.length + 1]] });
  }
  function shortcut(event) {
    if (event.key.toLowerCase() !== "k" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.tagName !== "SELECT") strike(); // where letters choose
  }

  function describe(t) {
    const { written, right, apart } = run.record;
    const outputs = Math.min(t, SHOWN) === 1 ? "output" : `${Math.min(t, SHOWN)} outputs`;
    const correct = t ? `${share(written, right, t)} of the signs of the last ${outputs} right` : "nothing written yet";
    const done = listed().filter(([step]) => step <= t);
    const [step, size] = done.at(-1) ?? [];
    const kicked = done.length ? `kick ${done.length}: ${Number(size.toFixed(2))} at step ${count(step)}` : "no kick yet";
    return `step ${count(t)}: ${correct}; distance to the twin ${digits(apart[t])} (${kicked})`;
  }

  const height = (value) => clamp(Math.log10(value), FLOOR, CEILING); // 0: at the floor
  function axes(steps) {
    extent = steps;
    const rungs = [[FLOOR, "0"], ...powers(FLOOR + 1, CEILING)];
    plot = panel(HIGH, TOP, [0, extent], [FLOOR, CEILING], ticks(0, extent, 5), rungs);
    plot.element.append(marks, curve, cursor);
    pickable(plot, Array.from({ length: Math.min(extent, last) + 1 }, (_, t) => t), (step) => leave({ step }));
    drawing.replaceChildren(plot.element);
  }
  function draw(t) {
    const apart = run.record.apart;
    const wanted = roundUp(apart.length - 1);
    if (wanted !== extent) axes(wanted);
    const stretch = Math.ceil(apart.length / FINEST);
    const points = [];
    for (let from = 0; from < apart.length; from += stretch) {
      const part = apart.slice(from, from + stretch).map(height);
      const ends = stretch > 1 ? [Math.min(...part), Math.max(...part)] : part;
      points.push(...ends.map((value) => `${plot.x(from)},${plot.y(value)}`));
    }
    curve.setAttribute("points", points.join(" "));
    cursor.setAttribute("transform", `translate(${plot.x(t)} 0)`);
    marks.replaceChildren(...listed().filter(([step]) => step <= extent).map(([step]) =>
      svg("path", { d: `M${plot.x(step)} ${HIGH - BOTTOM}V${TOP}l-4 -8h8l-4 8`, class: "emt-changed" })));
  }

  function onMove(t) {
    if (model.get("step") !== t) return put({ step: t }); // which draws it
    const { written: own, twin: other, right } = run.advance(t);
    const said = describe(t);
    const steps = t ? `steps ${count(firstShown(t))} to ${count(t)}` : "nothing yet";
    writtenHeading.textContent = `written by “${names[which()]}”, ${steps}`;
    twinHeading.textContent = `its twin, never kicked${t ? `: ${share(other, right, t)} right` : ""}`;
    written.show(own, right, t, listed(), `Written by the network: ${said}`);
    twin.show(other, right, t, [], twinHeading.textContent);
    draw(t);
    plot.element.setAttribute("aria-label", `Distance to the twin, on a logarithmic scale, against the step; ${said}`);
    status.textContent = said;
  }
  function redraw() {
    const wanted = JSON.stringify([which(), listed()]);
    if (wanted !== made) run = begin(networks[which()].weights, sequence, listed());
    made = wanted;
    networkMenu.value = which();
    kindMenu.value = kind();
    sizeSlider.show(size(), `${size().toFixed(2)} of the state`);
    time.show(now());
  }

  const time = timeline({ label: "Step", last, start: now(), period: 80, status, describe, onMove });
  time.element.lastChild.before(...ahead, restart);
  const deaf = heed(model, el, ["network", "kicks", "step", "size", "kind"]);
  const root = html("div", { class: "emt-explorer emt-kicks emt-travel emt-curves" },
    ...(names.length > 1 ? [labelled("Network", networkMenu)] : []),
    writtenHeading, written.element, twinHeading, twin.element,
    note("heading", "relative distance to the twin, by step"), drawing,
    time.element, sizeSlider.element,
    html("div", { class: "emt-buttons" }, kick, labelled("Direction", kindMenu)), status,
    note("key", "Filled square: plus. Ring: minus. Area: modulus. Frame: wrong sign. Line: a kick (key K). " +
      "Press into the curve to go to a step."),
    ...captionOf(model));
  root.addEventListener("keydown", shortcut);
  el.append(root);
  redraw();
  return () => {
    time.stop();
    deaf();
    release();
  };
}

export default { render };
