// A trained GRU run in the page: it reads a sequence, one token is replaced within its state alone, and it writes.

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const best = (values) => values.indexOf(Math.max(...values));

// matrix (row-major, rows × vector.length) times vector, plus bias
function affine(matrix, vector, bias) {
  const out = Float64Array.from(bias);
  for (let i = 0, at = 0; i < out.length; i++) {
    let sum = 0;
    for (let j = 0; j < vector.length; j++) sum += matrix[at++] * vector[j];
    out[i] += sum;
  }
  return out;
}

// One step, gates in torch's order: reset, update, new.
export function step(weights, x, h) {
  const [a, b, size] = [affine(weights.W_ih, x, weights.b_ih), affine(weights.W_hh, h, weights.b_hh), h.length];
  return h.map((old, i) => {
    const reset = sigmoid(a[i] + b[i]);
    const update = sigmoid(a[size + i] + b[size + i]);
    const fresh = Math.tanh(a[2 * size + i] + reset * b[2 * size + i]);
    return (1 - update) * fresh + update * old;
  });
}

const row = (table, i, size) => table.subarray(i * size, (i + 1) * size);

// The state after the last token.
export function encode(weights, tokens) {
  const size = weights.b_hh.length / 3;
  return tokens.reduce((h, token) => step(weights, row(weights.embedding, token, size), h), new Float64Array(size));
}

// Greedy writing: the start-of-sequence row first, then the token just written, or the row that says "no input".
export function generate(weights, h, steps, autoregressive) {
  const vocabulary = weights.b_o.length;
  const tokens = [];
  for (let t = 0; t < steps; t++) {
    const input = t === 0 ? vocabulary : autoregressive ? tokens[t - 1] : vocabulary + 1;
    h = step(weights, row(weights.embedding, input, h.length), h);
    tokens.push(best(affine(weights.W_o, h, weights.b_o)));
  }
  return tokens;
}

// h + (tanh e_new − tanh e_old) ⊙ (scale ⊙ gamma^p + beta p + offset)
export function replaced(edits, h, position, old, fresh) {
  const [from, to] = [old, fresh].map((token) => row(edits.tokens, token, h.length));
  return h.map((value, i) => {
    const size = edits.scale[i] * edits.gamma[i] ** position + edits.beta[i] * position + edits.offset[i];
    return value + (Math.tanh(to[i]) - Math.tanh(from[i])) * size;
  });
}

const HIGH = 190;

// Every unit's value before (bar) and after (line across, with the change drawn thick).
function stateBars(before, after) {
  const most = Math.max(...before.map(Math.abs), ...after.map(Math.abs));
  const limit = Math.max(1, Math.ceil(2 * most) / 2); // in halves, so that the scale moves seldom
  const count = before.length;
  const plot = panel(HIGH, 6, [0, count], [-1.02 * limit, 1.02 * limit], ticks(0, count, 6));
  const wide = plot.x(1) - plot.x(0);
  const zero = plot.y(0);
  before.forEach((value, i) => {
    const [left, from, to] = [plot.x(i), plot.y(value), plot.y(after[i])];
    const box = { x: left + 0.15 * wide, width: 0.7 * wide, y: Math.min(zero, from), height: Math.abs(from - zero) };
    const middle = left + wide / 2;
    plot.element.append(
      svg("rect", { ...box, class: "emt-bar" }),
      svg("path", { d: `M${middle} ${from}V${to}`, class: "emt-change" }),
      svg("path", { d: `M${left + 0.05 * wide} ${to}h${0.9 * wide}`, class: "emt-after" }),
    );
  });
  return plot.element;
}

function render({ model, el }) {
  const unpacked = (name) =>
    Object.fromEntries(Object.entries(model.get(name)).map(([key, text]) => [key, floats(text)]));
  const [weights, edits] = [unpacked("weights"), unpacked("edits")];
  const [names, stored, autoregressive] = ["names", "sequences", "autoregressive"].map((name) => model.get(name));
  const status = statusLine();
  const bars = html("div");

  const { put, release } = shared(model, ["sequence", "position", "token"], redraw);
  const menus = tokenMenus("Sequence to store", names, (p, token) =>
    put({ sequence: model.get("sequence").map((old, q) => (q === p ? token : old)) }));
  const rows = ["Written from the state as it is", "Asked for after the edit", "Written from the edited state"];
  const [plain, asked, edited] = rows.map((label) => tokenRow(label, names));
  const positionSlider = slider("Position to edit", 0, 8, 1, (position) => put({ position }));
  const tokenSlider = slider("New token", 0, names.length - 1, 1, (token) => put({ token }));
  const label = (tokens, i) => `${i + 1}: ${tokens.map((token) => names[token]).join(" ")}`;
  const choice = menu("Sequence", [...stored.map(label), "changed by hand"], (i) =>
    i < stored.length ? put({ sequence: stored[i] }) : redraw());
  const random = button("random tokens", () =>
    put({ sequence: model.get("sequence").map(() => Math.floor(Math.random() * names.length)) }));

  function verdict(tokens, wanted) {
    const wrong = tokens.flatMap((token, p) => (token === wanted[p] ? [] : [p]));
    if (!wrong.length) return "all right ✓";
    return `${tokens.length - wrong.length} of ${tokens.length} right, wrong at ${wrong.join(", ")} ✗`;
  }

  function redraw() {
    const sequence = model.get("sequence").map((token) => clamp(token, 0, names.length - 1));
    const position = clamp(model.get("position"), 0, sequence.length - 1);
    const [old, fresh] = [sequence[position], clamp(model.get("token"), 0, names.length - 1)];
    const wanted = sequence.map((token, p) => (p === position ? fresh : token));
    const before = encode(weights, sequence);
    const after = replaced(edits, before, position, old, fresh);
    const [untouched, changed] = [before, after].map((h) => generate(weights, h, sequence.length, autoregressive));
    const [moved, length] = [Math.hypot(...after.map((value, i) => value - before[i])), Math.hypot(...before)];

    const deed = old === fresh
      ? `Position ${position} already holds ${names[old]}: nothing is changed`
      : `Position ${position}: ${names[old]} → ${names[fresh]}`;
    status.textContent = `${deed}. Written from the state as it is: ${verdict(untouched, sequence)}; from the edited one: ` +
      `${verdict(changed, wanted)}. The state, of length ${length.toFixed(2)}, moved by ${moved.toPrecision(2)}.`;
    menus.show(sequence, position);
    plain.show(untouched, position, sequence);
    asked.show(wanted, position);
    edited.show(changed, position, wanted);
    positionSlider.show(position, String(position), sequence.length - 1);
    tokenSlider.show(fresh, names[fresh]);
    const same = stored.findIndex((tokens) => tokens.join() === sequence.join());
    choice.value = same < 0 ? stored.length : same;
    const picture = stateBars(before, after);
    picture.setAttribute("aria-label", `Value of each of ${before.length} units before and after; ${status.textContent}`);
    bars.replaceChildren(picture);
  }

  el.append(html("div", { class: "emt-explorer emt-gru" },
    html("div", { class: "emt-buttons", role: "group", "aria-label": "Choose a sequence" }, labelled("Sequence", choice), random),
    note("heading", "stored, by position: the GRU has read"), menus.element,
    note("heading", "written from the state as it is"), plain.element,
    positionSlider.element, tokenSlider.element,
    note("heading", "asked for after the edit"), asked.element,
    note("heading", "written from the edited state"), edited.element,
    status,
    note("heading", "value of each unit of the state"), bars,
    note("key", "Bar: before the edit. Line across: after it; orange: the change. ✗ and red: not what was asked for."),
    ...captionOf(model)));
  const deaf = heed(model, el, ["sequence", "position", "token"]);
  redraw();
  return () => {
    deaf();
    release();
  };
}

export default { render };
