// One sequence stored three ways. Layer p of token v is γ^(ρp) (√(1−ρ) own axis of (p, v) + √ρ axis of v), ρ the
// alignment: two layers of one token meet at the cosine ρ, and the overlap of two positions is ρ². ρ = 0: every position
// has axes of its own (subspaces); ρ = 1: a token has one direction, and how large the layer is tells the position (onion).

const SAMPLES = 300; // sequences that the linear reader learns from, and as many that both readers are tried on
const RIDGE = 1e-6; // per sample

const parts = (overlap, gamma, p) =>
  [Math.sqrt(1 - overlap), Math.sqrt(overlap)].map((part) => part * gamma ** (overlap * p));

// tokens: those read so far, of a sequence of `length`. The own axes come first, position by position, then the shared ones.
export function store(tokens, length, count, overlap, gamma) {
  const state = new Float64Array((length + 1) * count);
  tokens.forEach((token, p) => {
    const [own, shared] = parts(overlap, gamma, p);
    state[p * count + token] += own;
    state[length * count + token] += shared;
  });
  return state;
}

// Layer by layer: the token whose layer is nearest to what is left is taken off.
export function peel(state, length, count, overlap, gamma) {
  const left = Float64Array.from(state);
  return Array.from({ length }, (_, p) => {
    const [own, shared] = parts(overlap, gamma, p);
    const along = Array.from({ length: count }, (_, v) => own * left[p * count + v] + shared * left[length * count + v]);
    const token = along.indexOf(Math.max(...along)); // layers of one position are equally long
    left[p * count + token] -= own;
    left[length * count + token] -= shared;
    return token;
  });
}

// Least squares with a ridge, by elimination: X (rows of numbers) times the result is nearest to Y.
export function regress(X, Y) {
  const [n, m] = [X[0].length, Y[0].length];
  const rows = Array.from({ length: n }, (_, i) => {
    const row = new Float64Array(n + m);
    X.forEach((x, s) => {
      if (x[i] === 0) return;
      for (let j = 0; j < n; j++) row[j] += x[i] * x[j];
      for (let j = 0; j < m; j++) row[n + j] += x[i] * Y[s][j];
    });
    row[i] += RIDGE * X.length;
    return row;
  });
  for (let i = 0; i < n; i++) { // symmetric and positive: no pivots
    for (let k = 0; k < n; k++) {
      const factor = k === i ? 0 : rows[k][i] / rows[i][i];
      if (factor) for (let j = i; j < n + m; j++) rows[k][j] -= factor * rows[i][j];
    }
  }
  return rows.map((row, i) => row.slice(n).map((value) => value / row[i]));
}

// How often each position is read rightly from noisy states, by a linear reader and by peeling.
export function readers(length, count, overlap, gamma, noise) {
  const random = randomFrom(1);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const draw = () => {
    const tokens = Array.from({ length }, () => Math.floor(count * random()));
    return { tokens, state: store(tokens, length, count, overlap, gamma).map((value) => value + noise * normal()) };
  };
  const [known, tried] = [0, 1].map(() => Array.from({ length: SAMPLES }, draw));
  const seen = (sample) => [1, ...sample.state];
  const wanted = ({ tokens }) => tokens.flatMap((token) => Array.from({ length: count }, (_, v) => Number(v === token)));
  const weights = regress(known.map(seen), known.map(wanted));
  const linear = (sample) => {
    const scores = new Float64Array(length * count);
    seen(sample).forEach((value, i) => weights[i].forEach((weight, j) => (scores[j] += value * weight)));
    return sample.tokens.map((_, p) => {
      const own = [...scores.subarray(p * count, (p + 1) * count)];
      return own.indexOf(Math.max(...own));
    });
  };
  const right = (reader) => {
    const read = tried.map(reader);
    return tried[0].tokens.map((_, p) => tried.filter(({ tokens }, s) => read[s][p] === tokens[p]).length / SAMPLES);
  };
  return { linear: right(linear), peeling: right((sample) => peel(sample.state, length, count, overlap, gamma)) };
}

const [TALL, FOOT, BAR, GAP] = [130, 34, 18, 14];

// The state as bars, one an axis: a group for each position's own axes and one for the shared ones, as far as there are
// any. A shared bar is a pile, position 0 at the bottom, with the positions' numbers.
function stateBars(tokens, length, names, overlap, gamma) {
  const count = names.length;
  const groups = [...(overlap < 1 ? Array.from({ length }, (_, p) => p) : []), ...(overlap > 0 ? ["shared"] : [])];
  const wide = groups.length * (count * BAR + GAP) - GAP;
  const floor = TALL + 6;
  const most = Math.max(1, ...store(tokens, length, count, overlap, gamma), overlap === 1 ? 1 / (1 - gamma) : 0);
  const picture = svg("svg", { viewBox: `0 0 ${wide} ${floor + FOOT}`, role: "img" });
  picture.style.maxWidth = `${1.5 * wide}px`;
  groups.forEach((group, g) => {
    const left = g * (count * BAR + GAP);
    const title = group === "shared" ? "shared" : groups.length > 1 ? `pos. ${group}` : `position ${group}`;
    picture.append(
      svg("path", { d: `M${left} ${floor}h${count * BAR}`, class: "emt-axis" }),
      ...names.map((name, v) =>
        svg("text", { x: left + (v + 0.5) * BAR, y: floor + 14, class: "emt-text emt-small" }, name)),
      svg("text", { x: left + (count * BAR) / 2, y: floor + 30, class: "emt-text emt-small" }, title),
    );
    const piles = names.map(() => 0);
    tokens.forEach((token, p) => {
      const [own, shared] = parts(overlap, gamma, p);
      if (group !== "shared" && group !== p) return;
      const high = ((group === "shared" ? shared : own) * TALL) / most;
      const place = { x: left + token * BAR + 1.5, width: BAR - 3, y: floor - piles[token] - high, height: high };
      picture.append(svg("rect", { ...place, class: "emt-layer", style: `--hue: ${137.5 * p + 250}` }));
      if (high > 13) {
        const middle = place.y + high / 2 + 4.5;
        picture.append(svg("text", { x: place.x + place.width / 2, y: middle, class: "emt-inside" }, p));
      }
      piles[token] += high;
    });
  });
  return picture;
}

function render({ model, el }) {
  const [names, gamma] = ["names", "gamma"].map((name) => model.get(name));
  const { put, release } = shared(model, ["tokens", "read", "overlap", "noise"], redraw);
  const status = statusLine();
  const menus = tokenMenus("Tokens of the sequence", names, (p, token) =>
    put({ tokens: model.get("tokens").map((old, q) => (q === p ? token : old)) }));
  const readSlider = slider("Tokens read", 0, model.get("tokens").length, 1, (read) => put({ read }));
  const overlapSlider = slider("Alignment", 0, 1, 0.01, (overlap) => put({ overlap }));
  const noiseSlider = slider("Noise on each axis", 0, 0.1, 0.005, (noise) => put({ noise }));
  const [subspaces, onion, between] = [html("div"), html("div"), html("div")];
  const sum = note("key");
  const betweenHeading = note("heading");
  const table = html("table", { class: "emt-readers" });
  const percent = (part) => `${Math.round(100 * part)} %`;
  let known = { key: "" }; // the readers' results are the same for every sequence

  function draw(place, tokens, overlap, what) {
    const picture = stateBars(tokens, model.get("tokens").length, names, overlap, gamma);
    const said = tokens.map((token, p) => `${names[token]} at position ${p}`).join(", ") || "nothing read yet";
    picture.setAttribute("aria-label", `${what}: ${said}`);
    place.replaceChildren(picture);
  }

  function redraw() {
    const all = model.get("tokens").map((token) => clamp(token, 0, names.length - 1));
    const [overlap, noise] = [clamp(model.get("overlap"), 0, 1), clamp(model.get("noise"), 0, 0.1)];
    const read = clamp(model.get("read"), 0, all.length);
    const tokens = all.slice(0, read);
    const key = `${all.length};${overlap};${noise}`;
    if (known.key !== key) known = { key, ...readers(all.length, names.length, overlap, gamma, noise) };

    menus.show(all, read - 1);
    readSlider.show(read, `${read} of ${all.length}`, all.length);
    overlapSlider.show(overlap, overlap.toFixed(2));
    noiseSlider.show(noise, noise.toFixed(3));
    draw(subspaces, tokens, 0, "Subspaces, one group of axes for each position");
    draw(onion, tokens, 1, "Onion, one axis for each token");
    draw(between, tokens, overlap, `Layers with alignment ${overlap.toFixed(2)}`);
    betweenHeading.textContent = `between: layers with alignment ${overlap.toFixed(2)}, overlap ${(overlap ** 2).toFixed(2)}`;
    const state = store(tokens, 0, names.length, 1, gamma);
    sum.textContent = `State: ${names.map((name, v) => `${name} ${state[v].toFixed(2)}`).join(", ")}. The largest is the ` +
      "token at position 0; take 1 off it, and the largest is the one at position 1; and so on.";
    const row = (name, values) => html("tr", {}, html("th", { scope: "row" }, name),
      ...values.map((value) => {
        const cell = html("td", {}, percent(value));
        cell.style.setProperty("--level", percent(value).replace(" ", ""));
        return cell;
      }));
    table.replaceChildren(
      html("caption", {}, `positions read correctly in ${SAMPLES} other sequences (chance ${percent(1 / names.length)})`),
      html("tr", {}, html("td"), ...all.map((_, p) => html("th", { scope: "col" }, `pos. ${p}`))),
      row("linear", known.linear), row("peeling", known.peeling));
    const list = (values) => values.map((value) => Math.round(100 * value)).join(", ");
    status.textContent = `${read} of ${all.length} tokens read. Alignment ${overlap.toFixed(2)}, noise ${noise.toFixed(3)}: the ` +
      `linear reader gets ${list(known.linear)} % of positions 0 to ${all.length - 1} right, peeling ${list(known.peeling)} %.`;
  }

  const deaf = heed(model, el, ["tokens", "read", "overlap", "noise"]);
  el.append(html("div", { class: "emt-explorer emt-codes" },
    note("heading", "the sequence, by position"), menus.element, readSlider.element,
    html("div", { class: "emt-pair" },
      html("div", {}, note("heading", "subspaces: axes for each position"), subspaces),
      html("div", {}, note("heading", `onion: an axis for each token, each layer ${gamma} of the last`), onion, sum)),
    betweenHeading, between, overlapSlider.element, noiseSlider.element, table, status,
    note("key", "Each bar is an axis of the state, and each piece of it a layer, with the number of its position. " +
      "Alignment 0 is the first code, 1 the second."),
    ...captionOf(model)));
  redraw();
  return () => {
    deaf();
    release();
  };
}

export default { render };
