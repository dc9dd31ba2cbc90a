// A sequence kept in two numbers, h = Σ γ^p e(token at p): written layer by layer into a number format, read by peeling.

const LONGEST = 9;
const [FEWEST, MOST] = [3, 23]; // bits of a mantissa, the leading 1 not counted
const EXACT = 52; // what the page itself computes with
const FORMATS = { 7: " (bfloat16)", 10: " (float16)", 23: " (float32)" };
const SIZE = 400;
const COARSE = 5; // pixels between the numbers of a format from which on they are drawn

const bytes = new DataView(new ArrayBuffer(8));
function exponent(x) {
  bytes.setFloat64(0, x);
  return ((bytes.getUint16(0) >> 4) & 0x7ff) - 1023;
}

// To the nearest number with so many bits, to the even one of two as near. The exponent has no limit here.
export function round(x, bits) {
  if (x === 0) return 0;
  const ulp = 2 ** (exponent(x) - bits);
  const below = Math.floor(x / ulp); // dividing by a power of two is exact, and so is the part that is left
  const part = x / ulp - below;
  return (part > 0.5 || (part === 0.5 && below % 2 !== 0) ? below + 1 : below) * ulp;
}

// embedding: [[x, y], ...]. The state after each layer, rounded each time.
export function write(embedding, tokens, gamma, bits) {
  let state = [0, 0];
  return tokens.map((token, p) => {
    state = state.map((value, d) => round(value + gamma ** p * embedding[token][d], bits));
    return state;
  });
}

// At each of `count` scales the nearest embedding, which is then taken off: residuals[k] is left after k layers.
export function peel(embedding, state, gamma, count) {
  const residuals = [state];
  const tokens = [];
  for (let p = 0; p < count; p++) {
    const left = residuals[p];
    const gaps = embedding.map(([x, y]) => Math.hypot(left[0] - gamma ** p * x, left[1] - gamma ** p * y));
    tokens.push(gaps.indexOf(Math.min(...gaps)));
    residuals.push(left.map((value, d) => value - gamma ** p * embedding[tokens[p]][d]));
  }
  return { residuals, tokens };
}

// Where one embedding is the nearest: a square cut by a straight line for each of the others.
export function cellOf(embedding, own, reach) {
  let corners = [[-reach, -reach], [reach, -reach], [reach, reach], [-reach, reach]];
  for (const other of embedding) {
    const normal = [other[0] - own[0], other[1] - own[1]];
    const offset = (other[0] ** 2 + other[1] ** 2 - own[0] ** 2 - own[1] ** 2) / 2;
    const side = ([x, y]) => normal[0] * x + normal[1] * y - offset; // negative on the own side
    corners = corners.flatMap((corner, i) => {
      const next = corners[(i + 1) % corners.length];
      const [a, b] = [side(corner), side(next)];
      const cut = () => corner.map((value, d) => value + (a / (a - b)) * (next[d] - value));
      return [...(a <= 0 ? [corner] : []), ...(a * b < 0 ? [cut()] : [])];
    });
  }
  return corners;
}

function arrow([x1, y1], [x2, y2], kind) {
  const length = Math.hypot(x2 - x1, y2 - y1);
  if (!(length > 1)) return [];
  const [u, v] = [(x2 - x1) / length, (y2 - y1) / length];
  const head = Math.min(11, 0.5 * length);
  const [x, y] = [x2 - head * u, y2 - head * v];
  const tip = `${x - 0.45 * head * v},${y + 0.45 * head * u} ${x2},${y2} ${x + 0.45 * head * v},${y - 0.45 * head * u}`;
  const shaft = svg("path", { d: `M${x1} ${y1}L${x} ${y}`, class: `emt-shaft ${kind}` });
  return [shaft, svg("polygon", { points: tip, class: `emt-head ${kind}` })];
}

// A square window on the plane, `reach` from its middle, the origin, to its edge.
function frame(reach) {
  const scale = SIZE / 2 / reach;
  const at = ([x, y]) => [SIZE / 2 + scale * x, SIZE / 2 - scale * y];
  const dot = (place, r, kind) => {
    const [cx, cy] = at(place);
    return svg("circle", { cx, cy, r, class: kind });
  };
  return { scale, at, dot };
}

function render({ model, el }) {
  const names = model.get("names");
  const packed = floats(model.get("embedding"));
  const embedding = names.map((_, v) => [packed[2 * v], packed[2 * v + 1]]);
  const furthest = Math.max(...embedding.map(([x, y]) => Math.hypot(x, y)));
  const status = statusLine();
  const [whole, zoom] = ["emt-whole", "emt-zoom"].map((kind) =>
    svg("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, class: `emt-square ${kind}`, role: "img" }));
  const [wholeHeading, zoomHeading] = [note("heading", "the state, layer upon layer"), note("heading")];

  const { put, release } = shared(model, ["tokens", "gamma", "bits", "peeled"], redraw);
  const menus = tokenMenus("Tokens to store", names, (p, token) =>
    put({ tokens: model.get("tokens").map((old, q) => (q === p ? token : old)) }));
  const reading = tokenRow("Tokens read", names);
  const peelSlider = slider("Layers peeled", 0, LONGEST, 1, (peeled) => put({ peeled }));
  const gammaSlider = slider("Scale γ of a layer over the one before", 0.05, 0.95, 0.01, (gamma) => put({ gamma }));
  const bitsSlider = slider("Mantissa bits", FEWEST, MOST, 1, (bits) => put({ bits }));
  const longer = button("+ layer", () =>
    put({ tokens: [...model.get("tokens"), model.get("tokens").length % names.length] }));
  const shorter = button("− layer", () => put({ tokens: model.get("tokens").slice(0, -1) }));
  const random = button("random", () =>
    put({ tokens: model.get("tokens").map(() => Math.floor(Math.random() * names.length)) }));

  function blame(tokens, read, exact, gamma) {
    const wrong = tokens.findIndex((token, p) => token !== read[p]);
    if (wrong < 0) return "every layer right.";
    const cause = tokens.slice(0, wrong + 1).every((token, p) => token === exact[p])
      ? "rounding moved the state too far (without rounding this layer is read rightly)"
      : `the smaller layers are too large at γ = ${gamma.toFixed(2)} (rounded or not)`;
    return `first wrong at position ${wrong}, ${names[read[wrong]]} for ${names[tokens[wrong]]}: ${cause}.`;
  }

  function redraw() {
    const tokens = model.get("tokens").slice(0, LONGEST).map((token) => clamp(token, 0, names.length - 1));
    const [count, gamma] = [tokens.length, clamp(model.get("gamma"), 0.05, 0.95)];
    const bits = clamp(model.get("bits"), FEWEST, MOST);
    const peeled = clamp(model.get("peeled"), 0, count);
    const written = write(embedding, tokens, gamma, bits);
    const ideal = write(embedding, tokens, gamma, EXACT);
    const { residuals, tokens: read } = peel(embedding, written.at(-1), gamma, count);
    const exact = peel(embedding, ideal.at(-1), gamma, count).tokens;
    const size = gamma ** peeled;
    const picture = { tokens, gamma, bits, peeled, written, ideal, residuals, read, size };

    const setting = `γ = ${gamma.toFixed(2)}, ${bits} bits${FORMATS[bits] ?? ""}`;
    const scale = `γ${superscript(peeled)} = ${size.toPrecision(2)}`;
    const left = Math.hypot(...residuals[peeled]).toPrecision(2);
    const sign = read[peeled] === tokens[peeled] ? "✓" : `✗ (it was ${names[tokens[peeled]]})`;
    const here = peeled < count
      ? `At the scale ${scale} the nearest is ${names[read[peeled]]} ${sign}.`
      : `All peeled; a length of ${left} is left.`;
    const all = `${tokens.map((token) => names[token]).join(" ")} is read as ${read.map((token) => names[token]).join(" ")}`;
    status.textContent = `${setting}, ${peeled} of ${count} layers peeled. ${here} ${all}: ${blame(tokens, read, exact, gamma)}`;
    zoomHeading.textContent = peeled < count ? `what is left, seen at the scale ${scale}` : `what is left, at ${scale}`;

    menus.show(tokens, peeled);
    reading.show(read, peeled, tokens);
    peelSlider.show(peeled, `${peeled} of ${count}`, count);
    gammaSlider.show(gamma, gamma.toFixed(2));
    bitsSlider.show(bits, `${bits}${FORMATS[bits] ?? ""}`);
    longer.disabled = count >= LONGEST;
    shorter.disabled = count <= 1;
    drawWhole(picture);
    drawZoom(picture);
  }

  // The chain that was written, the one peeled so far over it, and a square where the other picture looks.
  function drawWhole({ tokens, gamma, peeled, written, read, size }) {
    const chain = [[0, 0]];
    read.forEach((token, p) => chain.push(chain[p].map((value, d) => value + gamma ** p * embedding[token][d])));
    const half = windowOf(gamma);
    const windows = chain.flatMap((place, p) => place.map((value) => Math.abs(value) + gamma ** p * half)); // at any step
    const { scale, at, dot } = frame(1.02 * Math.max(...windows, ...written.flat().map(Math.abs)));
    const [x, y] = at(chain[peeled]);
    const side = Math.max(8, 2 * scale * size * half);
    whole.replaceChildren(
      svg("path", { d: `M0 ${SIZE / 2}H${SIZE}M${SIZE / 2} 0V${SIZE}`, class: "emt-axis" }),
      ...embedding.map((place) => dot(place, 3, "emt-place")),
      ...written.flatMap((place, p) => arrow(at(p ? written[p - 1] : [0, 0]), at(place), "emt-laid")),
      ...read.slice(0, peeled).flatMap((token, p) =>
        arrow(at(chain[p]), at(chain[p + 1]), token === tokens[p] ? "emt-off" : "emt-wrong")),
      svg("rect", { x: x - side / 2, y: y - side / 2, width: side, height: side, class: "emt-window" }),
      dot(written.at(-1), 4, "emt-dot"),
    );
    const wrong = read.slice(0, peeled).filter((token, p) => token !== tokens[p]).length;
    const told = `The state as a chain of ${tokens.length} arrows, ${peeled} peeled, ${wrong} of them wrong`;
    whole.setAttribute("aria-label", told);
  }

  // In units of the layer to be read: wide enough for all that smaller layers can add, up to a limit.
  const windowOf = (gamma) => 1.15 * furthest * Math.min(1 / (1 - gamma), 2.2);

  function drawZoom({ tokens, gamma, bits, peeled, written, ideal, residuals, read, size }) {
    const reach = windowOf(gamma);
    const { scale, at, dot } = frame(reach);
    const state = written.at(-1);
    const base = state.map((value, d) => value - residuals[peeled][d]); // what has been peeled
    const seen = (place) => place.map((value, d) => (value - base[d]) / size);
    const inside = (place) => place.map((value) => clamp(value, -reach, reach));
    const choosing = peeled < tokens.length;
    const [token, asked] = [read[peeled], tokens[peeled]];
    const right = token === asked;
    const residual = seen(state);
    const away = Math.max(...residual.map(Math.abs)) > reach;

    // The numbers that the format has around the state, where they are far enough apart to be seen.
    const grid = state.flatMap((value, d) => {
      if (value === 0) return [];
      const power = 2 ** exponent(value);
      const ulp = power / 2 ** bits;
      if ((scale * ulp) / size < COARSE) return [];
      const [from, to] = [-reach, reach].map((edge) => (base[d] + edge * size) / ulp);
      const lines = [];
      for (let n = Math.ceil(from); n <= to; n++) {
        if (Math.abs(n * ulp) < power || Math.abs(n * ulp) > 2 * power) continue; // another exponent, another step
        const place = at([(n * ulp - base[d]) / size, (n * ulp - base[d]) / size])[d];
        lines.push(svg("path", { d: d ? `M0 ${place}H${SIZE}` : `M${place} 0V${SIZE}`, class: "emt-grille" }));
      }
      return lines;
    });
    const cells = embedding.map((place, v) => svg("polygon", {
      points: cellOf(embedding, place, reach).map((corner) => at(corner).join(",")).join(" "),
      class: choosing && v === token ? `emt-cellular ${right ? "emt-off" : "emt-wrong"}` : "emt-cellular",
    }));
    const [from, to] = choosing ? [at(inside(residual)), at(embedding[token])] : [];
    const layers = written.slice(peeled).flatMap((place, i) =>
      arrow(at(seen(peeled + i ? written[peeled + i - 1] : [0, 0])), at(seen(place)), "emt-laid"));
    const labels = embedding.map((place, v) => {
      const [x, y] = at(place);
      const wrong = choosing && !right && v === token;
      const kind = `emt-text${wrong ? " emt-wrong" : ""}${choosing && (v === token || v === asked) ? " emt-strong" : ""}`;
      const sign = choosing && v === token ? (right ? " ✓" : " ✗") : "";
      return svg("text", { x, y: y - 10, class: kind }, names[v] + sign);
    });
    zoom.replaceChildren(
      ...cells, ...grid, ...layers,
      ...(choosing ? [svg("path", { d: `M${from}L${to}`, class: `emt-reach ${right ? "emt-off" : "emt-wrong"}` })] : []),
      ...embedding.map((place) => dot(place, 5, "emt-place")),
      ...(choosing ? [dot(embedding[token], 9, `emt-chosen ${right ? "emt-off" : "emt-wrong"}`)] : []),
      ...labels,
      dot(inside(seen(ideal.at(-1))), 8, "emt-ring"),
      dot(inside(residual), 6, "emt-dot"),
      ...(away ? [svg("text", { x: SIZE / 2, y: SIZE - 10, class: "emt-text" },
        `the state is outside, ${Math.hypot(...residual).toPrecision(2)} units off`)] : []),
    );
    zoom.setAttribute("aria-label", `${zoomHeading.textContent}: ` + (choosing
      ? `nearest embedding ${names[token]}, ${right ? "right" : `wrong, it was ${names[asked]}`}` : "nothing to read"));
  }

  el.append(html("div", { class: "emt-explorer emt-onion" },
    note("heading", "tokens to store, by position"), menus.element,
    note("heading", "tokens read by peeling"), reading.element,
    html("div", { class: "emt-buttons", role: "group", "aria-label": "Change the sequence" }, longer, shorter, random),
    peelSlider.element, gammaSlider.element, bitsSlider.element, status,
    html("div", { class: "emt-pair" },
      html("div", {}, wholeHeading, whole), html("div", {}, zoomHeading, zoom)),
    note("key", "Filled dot: the state as stored; ring: without rounding. Grey arrows: layers as written; blue: peeled; " +
      "red and dashed: peeled wrongly. The square on the left is what the right shows: a cell for each token, in which it " +
      "is the nearest. Dotted lines, where they are far enough apart: the numbers that the format has."),
    ...captionOf(model)));
  const deaf = heed(model, el, ["tokens", "gamma", "bits", "peeled"]);
  redraw();
  return () => {
    deaf();
    release();
  };
}

export default { render };
