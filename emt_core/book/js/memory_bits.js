// A sequence kept in the numbers of a format: which layers are larger than its rounding step, and the bits themselves.
// Onion: every layer is γ of the last and all share N numbers. Phases: a rotation brings each token to N numbers of its
// own, at full size (a cyclic shift of blocks; block p is that of position p, as seen by one who turns along).

const LONGEST = 24;
const [GAMMA_LEAST, GAMMA_MOST] = [0.1, 0.95];
const CODES = { onion: "onion: layers shrink", phases: "phases: numbers apart" };
const SHOWN = 2; // numbers whose bits are drawn
const BEYOND = 6; // bits after the last one kept that are drawn

const bytes = new DataView(new ArrayBuffer(8));
function exponentOf(x) {
  bytes.setFloat64(0, x);
  return ((bytes.getUint16(0) >> 4) & 0x7ff) - 1023;
}

// The power of two at which a format keeps x: its last bit is mantissa places below. Subnormals share the least.
const scaleOf = (x, format) => Math.max(exponentOf(x), format.least);
export const spacing = (x, format) => 2 ** (scaleOf(x, format) - format.mantissa);

// The nearest number of the format, of two as near the even one; what is too large becomes the largest.
export function round(x, format) {
  const step = spacing(x, format);
  const steps = Math.abs(x) / step; // exact, as is the part below: a step is a power of two
  const below = Math.floor(steps);
  const part = steps - below;
  const size = (part > 0.5 || (part === 0.5 && below % 2 !== 0) ? below + 1 : below) * step;
  return Math.min(size, format.largest) * (x < 0 || Object.is(x, -0) ? -1 : 1);
}

// Each layer is rounded, and the state after each sum.
export function write(code, embedding, tokens, gamma, format) {
  const size = embedding[0].length;
  const state = Array(code === "phases" ? tokens.length * size : size).fill(0);
  tokens.forEach((token, p) => embedding[token].forEach((value, i) => {
    const [at, layer] = code === "phases" ? [p * size + i, value] : [i, gamma ** p * value];
    state[at] = round(state[at] + round(layer, format), format);
  }));
  return state;
}

// The nearest embedding, position by position; an onion's is then taken off, and what is left divided by γ.
export function read(code, embedding, state, gamma, length) {
  const size = embedding[0].length;
  const inner = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  let left = state;
  return Array.from({ length }, (_, p) => {
    const seen = code === "phases" ? state.slice(p * size, (p + 1) * size) : left;
    const scores = embedding.map((e) => inner(seen, e) - inner(e, e) / 2);
    const token = scores.indexOf(Math.max(...scores));
    left = left.map((value, i) => (value - embedding[token][i]) / gamma); // phases do not look at it
    return token;
  });
}

// Up to how many tokens every sequence is read right: the bound "sure" of theory.onion.layer_bound, which derives it.
// `exact`: the γ up to which peeling is right without rounding. Of phases every number is rounded once.
export function sure(code, embedding, gamma, format, exact) {
  const most = Math.max(...embedding.flat().map(Math.abs));
  const gaps = embedding.flatMap((a, i) => embedding.slice(0, i).map((b) => Math.hypot(...a.map((x, k) => x - b[k]))));
  const [root, apart] = [Math.sqrt(embedding[0].length), Math.min(...gaps)];
  const half = (x) => spacing(x, format) / 2;
  if (code === "phases") return root * half(most) < apart / 2 ? Infinity : 0;
  if (gamma > exact * (1 + 4e-16)) return 0;
  for (let n = 1, sum = 0, off = 0; ; n++) {
    sum += most * gamma ** (n - 1);
    off += half(most * gamma ** (n - 1));
    const writing = off + (n - 1) * half((sum + off) * (1 + 2 ** -(format.mantissa + 1)) ** n);
    if (!(root * writing < (gamma ** (n - 1) * apart) / 2)) return n - 1;
  }
}

// Binary digits of a size at the places 2^from, 2^(from − 1), …
export const digitsFrom = (size, from, count) =>
  Array.from({ length: count }, (_, k) => Math.floor(size / 2 ** (from - k)) % 2);

// How a format stores one of its numbers: the sign, the exponent's bits, whether there is a leading 1, the mantissa's.
export function bitsOf(x, format) {
  const scale = scaleOf(x, format);
  const [leading, ...mantissa] = digitsFrom(Math.abs(x), scale, format.mantissa + 1);
  const biased = leading ? scale - format.least + 1 : 0;
  const exponent = digitsFrom(biased, format.exponent - 1, format.exponent);
  return { sign: x < 0 || Object.is(x, -0) ? 1 : 0, exponent, leading, mantissa, scale };
}

// Tokens of a seed; a longer sequence goes on from a shorter one.
export function tokensOf(seed, length, count) {
  const random = randomFrom(seed);
  return Array.from({ length }, () => Math.floor(count * random()));
}

const power = (exponent) => `2${superscript(exponent)}`;
const signed = (value, digits) => String(Number(value.toPrecision(digits))).replaceAll("-", "−");

// Layers by position as bars that stand in water, which is as deep as the rounding step is large.
function drawLayers({ tokens, found, sizes, step, names }) {
  const [height, top, count] = [210, 8, tokens.length];
  const deepest = Math.log2(Math.min(step, sizes.at(-1))) - 1;
  const every = [2, 4, 8, 16, 32].find((some) => deepest >= -6 * some);
  const low = every * Math.floor(deepest / every);
  const rungs = Array.from({ length: 1 - low / every }, (_, i) => [-i * every, power(-i * every)]);
  const middle = (count - 1) / 2;
  const reach = Math.max(count, 8) / 2; // few bars are not drawn wider
  const plot = panel(height, top, [middle - reach, middle + reach], [low, -0.14 * low], [], rungs);
  const [floor, surface] = [plot.y(low), plot.y(Math.log2(step))];
  const wide = plot.x(1) - plot.x(0);
  plot.element.setAttribute("viewBox", `0 0 ${WIDTH} ${height + 38}`);
  const row = (line, name, texts) => {
    const y = floor + 21 + 19 * line;
    plot.write(LEFT - 8, y, name, { class: "emt-text emt-left emt-small" });
    texts.forEach(([text, kind], p) => plot.write(plot.x(p), y, text, { class: `emt-text emt-small ${kind}` }));
  };
  const right = tokens.map((token, p) => token === found[p]);
  const first = right.includes(false) ? right.indexOf(false) : count;
  sizes.forEach((size, p) => {
    const place = { x: plot.x(p) - 0.36 * wide, y: plot.y(Math.log2(size)), width: 0.72 * wide };
    const kind = p < first ? "emt-held" : right[p] ? "emt-match" : "emt-lost";
    plot.element.append(svg("rect", { ...place, height: floor - place.y, class: kind }));
  });
  const swell = (WIDTH - LEFT - RIGHT) / 32;
  const waves = `M${LEFT} ${surface}q${swell / 2} -4 ${swell} 0${`t${swell} 0`.repeat(31)}`;
  plot.element.append(
    svg("path", { d: `${waves}V${floor}H${LEFT}Z`, class: "emt-water" }),
    svg("path", { d: waves, class: "emt-surface" }));
  sizes.forEach((size, p) =>
    plot.write(plot.x(p), plot.y(Math.log2(size)) - 5, right[p] ? "✓" : "✗", {
      class: `emt-text emt-small ${right[p] ? "" : "emt-wrong"}`,
    }));
  row(0, "position", tokens.map((_, p) => [count > 12 && p % 2 ? "" : p, "emt-soft"]));
  row(1, "written", tokens.map((token) => [names[token], ""]));
  row(2, "read", found.map((token, p) => [names[token], right[p] ? "" : "emt-wrong"]));
  const said = tokens.map((token, p) => {
    const drowned = sizes[p] < step ? ", below the rounding step" : "";
    return `${p}: ${names[token]}${drowned}${right[p] ? "" : `, read wrongly as ${names[found[p]]}`}`;
  });
  plot.element.setAttribute("aria-label", `Layers by position, ${said.join("; ")}`);
  return plot.element;
}

// One number as boxes; above them the layers that begin at a bit, after them what the sum without rounding would have.
// starts: for a place, 2^place, the first layer that begins there, and whether it was read right.
function drawNumber(name, value, sum, format, starts) {
  const bits = bitsOf(value, format);
  const off = Math.abs(value - sum);
  const beyond = off && value ? BEYOND : 0; // a zero is at no scale
  const ideal = digitsFrom(Math.abs(value && sum), bits.scale, format.mantissa + 1 + beyond);
  let crowded = false; // two digits fit above a box if the one before has none
  const box = (digit, kind, place) => {
    const layer = starts.get(place);
    const shown = layer && !(crowded && layer.position > 9);
    crowded = shown && layer.position > 9;
    const mark = html("small", { class: layer?.right === false ? "emt-wrong" : "" }, shown ? layer.position : "");
    return html("span", { class: "emt-bit" }, mark, html("b", { class: kind }, digit));
  };
  const group = (title, ...boxes) =>
    html("div", {}, html("div", { class: "emt-boxes" }, ...boxes), html("small", {}, title));
  const changed = (digit, k) => (digit === ideal[k] ? "" : " emt-changed");
  const leading = box(`${bits.leading}.`, `emt-leading${changed(bits.leading, 0)}`, bits.scale);
  const mantissa = bits.mantissa.map((digit, k) =>
    box(digit, `emt-mantissa${changed(digit, k + 1)}`, bits.scale - k - 1));
  const lost = ideal.slice(format.mantissa + 1).map((digit, k) =>
    box(digit, "emt-beyond", bits.scale - format.mantissa - 1 - k));
  const row = html("div", { class: "emt-number", role: "img" },
    group("sign", box(bits.sign ? "−" : "+", `emt-signed${value * sum < 0 ? " emt-changed" : ""}`)),
    group("exponent", ...bits.exponent.map((digit) => box(digit, "emt-exponent"))),
    group("mantissa", leading, ...mantissa),
    ...(beyond ? [group("rounded off", ...lost)] : []));
  const lack = off ? `${signed(off, 2)} from the sum without rounding` : "nothing rounded off";
  const told = `${name}: ${signed(value, 6)}, ${lack}`;
  row.setAttribute("aria-label", `${told}; exponent ${bits.exponent.join("")}, mantissa ${bits.mantissa.join("")}`);
  return html("div", {}, note("key", told), row);
}

function render({ model, el }) {
  const [formats, embedding, exact] = ["formats", "embedding", "exact"].map((name) => model.get(name));
  const names = embedding.map((_, v) => String.fromCharCode(65 + v));
  const [count, size] = [embedding.length, embedding[0].length];
  const most = Math.max(...embedding.flat().map(Math.abs));
  const traits = ["code", "form", "gamma", "length", "seed"];
  const { put, release } = shared(model, traits, redraw);
  const status = statusLine();
  const title = (format) => format.name.replace("_", " ");
  const codeMenu = menu("Code", Object.values(CODES), (i) => put({ code: Object.keys(CODES)[i] }));
  const formatMenu = menu("Format",
    formats.map((format) => `${title(format)}: 1+${format.exponent}+${format.mantissa} bits`),
    (i) => put({ form: formats[i].name }));
  const gammaSlider = slider("γ", GAMMA_LEAST, GAMMA_MOST, 0.01, (gamma) => put({ gamma }));
  const lengthSlider = slider("Tokens", 1, LONGEST, 1, (length) => put({ length }));
  const other = button("other tokens", () => put({ seed: model.get("seed") + 1 }));
  const [layers, numbers, layersHeading, bitsHeading] = [html("div"), html("div"), note("heading"), note("heading")];

  function redraw() {
    const code = model.get("code") in CODES ? model.get("code") : "onion";
    const format = formats.find(({ name }) => name === model.get("form")) ?? formats[0];
    const gamma = clamp(model.get("gamma"), GAMMA_LEAST, GAMMA_MOST);
    const length = clamp(Math.round(model.get("length")), 1, LONGEST);
    const tokens = tokensOf(model.get("seed"), length, count);
    const state = write(code, embedding, tokens, gamma, format);
    const ideal = write(code, embedding, tokens, gamma, formats[0]); // the page itself computes with fp64
    const found = read(code, embedding, state, gamma, length);
    const unrounded = read(code, embedding, ideal, gamma, length);
    const step = spacing(Math.max(...state.map(Math.abs)), format);
    const sizes = tokens.map((_, p) => (code === "phases" ? most : most * gamma ** p));

    codeMenu.value = Object.keys(CODES).indexOf(code);
    formatMenu.value = formats.indexOf(format);
    gammaSlider.show(gamma, code === "phases" ? "unused" : gamma.toFixed(2));
    gammaSlider.element.querySelector("input").disabled = code === "phases";
    lengthSlider.show(length, String(length));
    say(code, format, gamma, tokens, found, unrounded);

    layersHeading.textContent =
      `the layers' sizes; the water is ${title(format)}'s rounding step, ${power(Math.log2(step))}`;
    layers.replaceChildren(drawLayers({ tokens, found, sizes, step, names }));
    const width = 1 + format.exponent + format.mantissa;
    const needed = Number((length * Math.log2(count)).toFixed(1));
    const whole = state.length * width;
    bitsHeading.textContent = `the state: ${state.length} numbers × ${width} bits = ${whole} bits; the tokens need ` +
      `${needed}${needed > whole ? ": some sequences must share a state" : ""}`;
    const shown = state.map((_, i) => i).filter((i) => (code === "phases" ? i % size === 0 : true)).slice(0, SHOWN);
    numbers.replaceChildren(...shown.map((i) => {
      const starts = new Map();
      const own = code === "phases" ? [Math.floor(i / size)] : tokens.map((_, p) => p);
      for (const p of own) {
        const layer = (code === "phases" ? 1 : gamma ** p) * embedding[tokens[p]][i % size];
        const place = exponentOf(layer);
        if (layer && !starts.has(place)) starts.set(place, { position: p, right: tokens[p] === found[p] });
      }
      return drawNumber(`number ${i + 1} of ${state.length}`, state[i], ideal[i], format, starts);
    }));
  }

  function say(code, format, gamma, tokens, found, unrounded) {
    const length = tokens.length;
    const wrong = (some) => {
      const first = tokens.findIndex((token, p) => token !== some[p]);
      return first < 0 ? length : first;
    };
    const [first, known] = [wrong(found), sure(code, embedding, gamma, format, exact)];
    const promise = known === Infinity ? "any length"
      : gamma > exact * (1 + 4e-16) && code === "onion" ? `none, as γ is above ${exact.toFixed(2)}`
      : `sequences of up to ${known}`;
    const survive = length > 1 ? "tokens survive" : "token survives";
    const sentence = `${first} of ${length} ${survive} in ${title(format)}; the bound promises ${promise}.`;
    if (first === length) return (status.textContent = sentence);
    const cause = wrong(unrounded) > first ? "rounding moved the state too far"
      : "smaller layers outweigh it, rounded or not";
    const later = tokens.filter((token, p) => p > first && token === found[p]).length;
    const after = later ? ` After it ${later} more match.` : "";
    status.textContent = `${sentence} First error at position ${first}, ${names[found[first]]} for ` +
      `${names[tokens[first]]}: ${cause}.${after}`;
  }

  const deaf = heed(model, el, traits);
  el.append(html("div", { class: "emt-explorer emt-bits" },
    html("div", { class: "emt-buttons" }, labelled("Code", codeMenu), labelled("Format", formatMenu)),
    gammaSlider.element, lengthSlider.element, html("div", { class: "emt-buttons" }, other), status,
    layersHeading, layers, bitsHeading, numbers,
    note("key", "Bars: filled, read right; dashed and ✗, wrong; outlined and ✓, right again after an error. A layer " +
      "below the water drowns: it is smaller than the step between the format's numbers at the largest of the state. " +
      "Above the bits: the layer that begins there. Heavy boxes: bits that rounding changed."),
    ...captionOf(model)));
  redraw();
  return () => {
    deaf();
    release();
  };
}

export default { render };
