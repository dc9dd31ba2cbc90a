// A trained network run in the page from its weights: what each variable memory holds, and what it says.
//
// With step t = 1, 2, ...:  h_t = tanh(W_hh h_{t-1} + W_uh u_t),  c_t = dual h_t (contents),  o_t = W_r h_t.

const CELL = 10;

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

// inputs: S·D numbers ±1, first step first. edits: "t,k" → the content k whose sign is flipped after step t was read.
export function simulate(weights, inputs, history, dim, steps, edits = new Set()) {
  let h = new Float64Array(weights.W_r.length / dim);
  const contents = [times(weights.dual, h)];
  const outputs = [times(weights.W_r, h)];
  const past = Array.from({ length: history }, (_, t) => inputs.slice(t * dim, (t + 1) * dim));
  const right = [];
  for (let t = 1; t <= history + steps; t++) {
    if (t > history) {
      past.push(times(weights.operator, past.slice(-history).flatMap((x) => [...x])));
      right.push([...past.at(-1)]);
    }
    const drive = times(weights.W_uh, t <= history ? past[t - 1] : new Array(dim).fill(0));
    h = times(weights.W_hh, h).map((a, i) => Math.tanh(a + drive[i]));
    outputs.push(times(weights.W_r, h));
    const c = times(weights.dual, h);
    for (let k = 0; k < c.length; k++) {
      if (c[k] === 0 || !edits.has(`${t},${k}`)) continue; // an empty or dropped variable has no sign to flip
      h = h.map((value, i) => value - 2 * c[k] * weights.basis[i * c.length + k]);
      const entry = t - history + Math.floor(k / dim); // the theory: block b holds the entry of step t - S + 1 + b
      if (entry >= 0) past[entry] = past[entry].map((value, d) => (d === k % dim ? -value : value));
    }
    contents.push(times(weights.dual, h));
  }
  return { contents, outputs, right };
}

// Area tells the modulus; a filled square is plus, a ring is minus: the sign never hangs on colour alone.
const side = (value) => Math.sqrt(Math.min(1, Math.abs(value)));

function paint(mark, value) {
  mark.className = value >= 0 ? "emt-plus" : "emt-minus";
  mark.style.setProperty("--size", side(value).toFixed(3));
}

function grid(label, history, dim, rowName, cellName, onClick) {
  const element = html("div", { class: "emt-grid", role: onClick ? "group" : "img", "aria-label": label });
  element.style.setProperty("--columns", dim);
  const marks = [];
  const cells = [];
  for (let row = 0; row < history; row++) {
    element.append(html("span", { class: "emt-row", "aria-hidden": "true" }, rowName(row)));
    for (let d = 0; d < dim; d++) {
      const i = row * dim + d;
      const cell = onClick ? button("", () => onClick(i), { "aria-label": cellName(row, d) }) : html("span");
      cell.classList.add("emt-cell");
      marks.push(cell.appendChild(html("i")));
      cells.push(cell);
      element.append(cell);
    }
  }
  if (onClick) roving(cells, dim);
  return { element, marks, cells };
}

// One column a step of the output phase, one row a dimension.
function strip(dim, steps) {
  const picture = svg("svg", { viewBox: `0 0 ${steps * CELL} ${dim * CELL}`, class: "emt-strip", role: "img" });
  picture.style.maxWidth = `${2.2 * steps * CELL}px`; // few steps should not make giant cells
  const cursor = svg("rect", { width: CELL, height: dim * CELL, class: "emt-cursor" });
  let columns = [];
  // A cross where the sign is not the right one; a box where it is not the one of `other`, the run without edits.
  function draw(rows, right, other) {
    const boxes = svg("g");
    columns = rows.map((row, t) => {
      const column = svg("g", { transform: `translate(${t * CELL} 0)` });
      row.forEach((value, d) => {
        const [size, middle] = [0.8 * CELL * side(value), (d + 0.5) * CELL];
        column.append(
          value >= 0
            ? svg("rect", { x: (CELL - size) / 2, y: middle - size / 2, width: size, height: size, class: "emt-plus" })
            : svg("circle", { cx: CELL / 2, cy: middle, r: Math.max(0, size / 2 - 0.6), class: "emt-minus" }),
        );
        if (value >= 0 !== other[t][d] >= 0) {
          const place = { x: t * CELL + 0.7, y: d * CELL + 0.7, width: CELL - 1.4, height: CELL - 1.4 };
          boxes.append(svg("rect", { ...place, class: "emt-changed" }));
        }
        if (value >= 0 === right[t][d] >= 0) return;
        const cross = `M1 ${middle - 4}l8 8m0 -8l-8 8`;
        column.append(svg("path", { d: cross, class: "emt-halo" }), svg("path", { d: cross, class: "emt-cross" }));
      });
      return column;
    });
    picture.replaceChildren(cursor, ...columns, boxes); // boxes stay, wherever in time the reader is
  }
  function show(written, upTo, label, later = "emt-hidden") {
    columns.forEach((column, t) => column.setAttribute("class", t < upTo ? "" : later));
    cursor.setAttribute("x", (written - 1) * CELL);
    cursor.style.visibility = written > 0 ? "visible" : "hidden"; // nothing is written in the input phase
    picture.setAttribute("aria-label", label);
  }
  return { element: picture, draw, show };
}

function render({ model, el }) {
  const [history, dim, steps, editable] = ["history", "dim", "steps", "editable"].map((name) => model.get(name));
  const entries = Object.entries(model.get("weights"));
  const weights = Object.fromEntries(entries.map(([name, text]) => [name, floats(text)]));
  const last = history + steps;
  let [run, plain] = [null, null]; // with the edits, and without
  let drawn = "";
  let scale = 1;

  const { put, release } = shared(model, ["inputs", "step", "edits"], redraw);
  const choose = (inputs) => put({ inputs: [...inputs], edits: [] });
  const status = statusLine();
  const bits = grid("Inputs, one step a row. Arrow keys move, space flips a sign.", history, dim,
    (row) => row + 1, (row, d) => `input at step ${row + 1}, dimension ${d + 1}, plus`,
    (i) => choose(model.get("inputs").map((value, j) => (j === i ? -value : value))));
  const memoryLabel = "Contents of the variable memories, oldest variable first";
  const cellName = (k) => `flip variable ${Math.floor(k / dim) + 1}, dimension ${(k % dim) + 1}`;
  const memory = grid(memoryLabel, history, dim, (row) => `Ψ${row + 1}`, (row, d) => cellName(row * dim + d),
    editable ? flip : null);
  const memoryHeading = note("heading");
  const [before, written, target] = [strip(dim, steps), strip(dim, steps), strip(dim, steps)];

  // "t,k" of each edit, k from 0; the model says [time, variable, dimension], variable and dimension from 1.
  const edited = () => new Set(model.get("edits").map(([t, row, d]) => `${t},${(row - 1) * dim + d - 1}`));
  const same = (row, other) => row.filter((value, d) => value >= 0 === other[d] >= 0).length;
  const signsRight = (t) => same([...run.outputs[t]], run.right[t - history - 1]);

  // What the edits did: how many outputs have another sign, how many should have, and how many are in both.
  function consequence() {
    const [changed, due, both] = [[], [], []];
    run.right.forEach((right, t) => right.forEach((value, d) => {
      const [turned, expected] = [
        run.outputs[t + history + 1][d] >= 0 !== plain.outputs[t + history + 1][d] >= 0,
        value >= 0 !== plain.right[t][d] >= 0,
      ];
      if (turned) changed.push(t);
      if (expected) due.push(t);
      if (turned && expected) both.push(t);
    }));
    return `${changed.length} output${changed.length === 1 ? " changes" : "s change"} sign; ` +
      `Φ predicts ${due.length}, ${both.length} of them the same`;
  }

  function describe(t) {
    const count = model.get("edits").length;
    const after = count ? `; ${count} sign${count > 1 ? "s" : ""} flipped by hand: ${consequence()}` : "";
    if (t === 0) return `t = 0: nothing written yet${after}`;
    if (t <= history) return `t = ${t} (input phase): input ${t} of ${history} is written${after}`;
    let total = 0;
    for (let past = history + 1; past <= t; past++) total += signsRight(past);
    const soFar = `${total} of ${dim * (t - history)} so far`;
    return `t = ${t} (output phase): ${signsRight(t)} of ${dim} signs right, ${soFar}${after}`;
  }

  function onMove(t) {
    if (model.get("step") !== t) return put({ step: t }); // which draws it
    const signs = [];
    const edits = edited();
    memory.marks.forEach((mark, k) => {
      const [value, other] = [run.contents[t][k] / scale, plain.contents[t][k] / scale];
      const changed = value >= 0 !== other >= 0 && Math.abs(value - other) > 0.2;
      paint(mark, value);
      signs.push((k % dim ? "" : ` Ψ${k / dim + 1}: `) + (Math.abs(value) < 0.1 ? "0" : value > 0 ? "+" : "−"));
      memory.cells[k].classList.toggle("emt-edited", edits.has(`${t},${k}`));
      memory.cells[k].classList.toggle("emt-changed", changed);
      if (editable) memory.cells[k].setAttribute("aria-label", cellName(k) + (changed ? ", changed by an edit" : ""));
    });
    memory.element.setAttribute("aria-label", memoryLabel + "." + signs.join(""));
    memoryHeading.textContent = `memories at t = ${t}`;
    bits.cells.forEach((cell, i) => cell.classList.toggle("emt-now", Math.floor(i / dim) === t - 1));
    const later = editable ? "emt-later" : "emt-hidden";
    before.show(t - history, t - history, "Output written without the edit", later);
    written.show(t - history, t - history, `Output written by the network up to t = ${t}: ${describe(t)}`, later);
    target.show(t - history, steps, "The right output of every step");
    status.textContent = describe(t);
  }

  function redraw() {
    const [inputs, edits] = [model.get("inputs"), edited()];
    const wanted = [inputs, [...edits]].join(";");
    if (wanted !== drawn) recompute(inputs, edits);
    drawn = wanted;
    time.show(clamp(model.get("step"), 0, last));
  }
  function recompute(inputs, edits) {
    plain = simulate(weights, inputs, history, dim, steps);
    run = edits.size ? simulate(weights, inputs, history, dim, steps, edits) : plain;
    // Full size: the 90th percentile of the output phase, since contents just written can be many times larger.
    const moduli = plain.contents.slice(history + 1).flatMap((c) => [...c.map(Math.abs)]).sort((a, b) => a - b);
    scale = moduli[Math.floor(0.9 * moduli.length)] || 1;
    inputs.forEach((value, i) => {
      paint(bits.marks[i], value);
      bits.cells[i].setAttribute("aria-pressed", value > 0);
    });
    const [out, old] = [run, plain].map(({ outputs }) => outputs.slice(history + 1).map((row) => [...row]));
    before.draw(old, plain.right, old);
    written.draw(out, run.right, old);
    target.draw(run.right, run.right, plain.right);
    if (undo) undo.disabled = edits.size === 0;
  }
  function flip(k) {
    const t = time.position();
    if (run.contents[t][k] === 0) return;
    const here = [t, Math.floor(k / dim) + 1, (k % dim) + 1];
    const others = model.get("edits").filter((edit) => edit.some((value, i) => value !== here[i]));
    put({ edits: others.length < model.get("edits").length ? others : [...others, here] });
  }

  const presets = model.get("presets");
  const random = () => choose(model.get("inputs").map(() => (Math.random() < 0.5 ? -1 : 1)));
  const choices = Object.entries(presets).map(([name, pattern]) => button(name, () => choose(pattern)));
  const undo = editable ? button("undo flips", () => put({ edits: [] })) : null;
  const start = clamp(model.get("step"), 0, last);
  const time = timeline({ label: "Time step", last, start, period: 350, status, describe, onMove });
  const deaf = heed(model, el, ["inputs", "step", ...(editable ? ["edits"] : [])],
    { preset: (name) => ({ inputs: presets[name], edits: [] }) });

  const span = `t = ${history + 1} to ${last}`;
  el.append(html("div", { class: "emt-explorer emt-travel" },
    html("div", { class: "emt-buttons", role: "group", "aria-label": "Choose inputs" },
      html("span", {}, "Inputs:"), button("random", random), ...choices, ...(undo ? [undo] : [])),
    html("div", { class: "emt-pair" },
      html("div", {}, note("heading", "inputs, step by step"), bits.element),
      html("div", {}, memoryHeading, memory.element)),
    time.element, status,
    ...(editable ? [note("heading", `written without the edit, ${span}`), before.element] : []),
    note("heading", editable ? `written with the edit, ${span}` : `written by the network, ${span}`), written.element,
    note("heading", editable ? "what Φ predicts with the edit" : "right output"), target.element,
    note("key", `Click ${editable ? "an input or a memory" : "an input"} to flip its sign. ` +
      "Filled square: plus. Ring: minus. Area: modulus. Cross: wrong sign." +
      (editable ? " Box, dashed for a memory: not the sign that it has without the edit. Pale: not written yet." : "")),
    ...captionOf(model)));
  redraw();
  return () => {
    time.stop();
    deaf();
    release();
  };
}

export default { render };
