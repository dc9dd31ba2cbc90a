// W_hh in the privileged basis and what its memories hold, a picture for each setting of the knobs, made beforehand.

const CELL = 10;
const LEAST = 0.03; // smaller entries are not drawn

const signedBytes = (base64) => Int8Array.from(atob(base64), (character) => character.charCodeAt(0));

// Area tells the modulus, up to 1; a filled square is plus, a ring is minus: the sign never hangs on colour alone.
function mark(value, x, y) {
  const size = 0.84 * CELL * Math.sqrt(Math.min(1, Math.abs(value)));
  return value >= 0
    ? svg("rect", { x: x + (CELL - size) / 2, y: y + (CELL - size) / 2, width: size, height: size, class: "emt-plus" })
    : svg("circle", { cx: x + CELL / 2, cy: y + CELL / 2, r: Math.max(0.3, size / 2 - 0.6), class: "emt-minus" });
}

// Of the values of a knob the one next to what the prose names; where all are above 0, by their ratio.
function nearest(values, wanted) {
  const scale = Math.min(...values, wanted) > 0 ? Math.log : (value) => value;
  const gaps = values.map((value) => Math.abs(scale(value) - scale(wanted)));
  return gaps.indexOf(Math.min(...gaps));
}

function render({ model, el }) {
  const names = ["recursions", "alphas", "sigmas", "cutoffs", "places", "times", "dim", "history"];
  const [recursions, alphas, sigmas, cutoffs, places, times, dim, history] = names.map((name) => model.get(name));
  const [texts, held, qualities, reach] = ["texts", "held", "qualities", "reach"].map((name) => model.get(name));
  const [interactions, contents] = ["interactions", "contents"].map((name) => signedBytes(model.get(name)));
  const count = places.length;
  const knobs = { recursion: recursions, alpha: alphas, sigma: sigmas, cutoff: cutoffs };

  const { put, release } = shared(model, Object.keys(knobs), redraw);
  const at = (knob) => clamp(model.get(knob), 0, knobs[knob].length - 1);
  const setting = () => Object.keys(knobs).reduce((place, knob) => place * knobs[knob].length + at(knob), 0);

  const status = statusLine();
  const recursion = menu("Recursion", recursions, (i) => put({ recursion: i }));
  const sliders = {
    alpha: [slider("Grounding α", 0, alphas.length - 1, 1, (i) => put({ alpha: i })), texts.alphas],
    sigma: [slider("Noise σ in the weights", 0, sigmas.length - 1, 1, (i) => put({ sigma: i })), texts.sigmas],
    cutoff: [slider("Cut-off", 0, cutoffs.length - 1, 1, (i) => put({ cutoff: i })), texts.cutoffs],
  };

  const side = count * CELL;
  const matrix = svg("svg", { viewBox: `0 0 ${side} ${side}`, class: "emt-strip", role: "img" });
  matrix.style.maxWidth = "26rem";
  matrix.style.margin = "0 auto";
  const lines = svg("g");
  for (let k = 1; k < count; k++) {
    if (Math.floor(places[k] / dim) === Math.floor(places[k - 1] / dim)) continue;
    lines.append(svg("path", { d: `M${k * CELL} 0V${side}M0 ${k * CELL}H${side}`, class: "emt-axis" }));
  }
  const wanted = svg("g");
  for (const i of model.get("phi")) {
    const box = { x: (i % count) * CELL + 0.6, y: Math.floor(i / count) * CELL + 0.6, width: CELL - 1.2, height: CELL - 1.2 };
    wanted.append(svg("rect", { ...box, class: "emt-changed" }));
  }
  // A grid a time, three in a row on a phone.
  const grids = times.map(() => svg("svg", { viewBox: `0 0 ${dim * CELL} ${history * CELL}`, class: "emt-strip" }));
  const strip = html("div", { role: "img", style: "display: flex; flex-wrap: wrap; gap: 0.5rem" },
    ...grids.map((grid) => html("div", { style: "flex: 1 1 5.5rem; max-width: 12rem" }, grid)));

  function drawMatrix(own, said) {
    const marks = [];
    own.forEach((level, i) => {
      const value = level * reach;
      if (Math.abs(value) >= LEAST) marks.push(mark(value, (i % count) * CELL, Math.floor(i / count) * CELL));
    });
    matrix.replaceChildren(lines, ...marks, wanted);
    matrix.setAttribute("aria-label", `W_hh in the privileged basis, ${said}`);
  }
  // Returns how many of the contents shown have the wrong sign.
  function drawContents(own) {
    let wrong = 0;
    grids.forEach((grid, t) => {
      const [marks, crosses] = [[], []];
      places.forEach((place, k) => {
        const level = own[t * count + k];
        const [x, y] = [(place % dim) * CELL, Math.floor(place / dim) * CELL];
        marks.push(mark(level / 127, x, y));
        if (level * held[t * count + k] > 0) return;
        const cross = `M${x + 1} ${y + 1}l8 8m0 -8l-8 8`;
        crosses.push(svg("path", { d: cross, class: "emt-halo" }), svg("path", { d: cross, class: "emt-cross" }));
      });
      grid.replaceChildren(...marks, ...crosses);
      wrong += crosses.length / 2;
    });
    strip.setAttribute("aria-label", `Contents at ${times.length} times: ${wrong} of ${own.length} with the wrong sign`);
    return wrong;
  }

  function redraw() {
    const place = setting();
    recursion.value = at("recursion");
    for (const [knob, [control, words]] of Object.entries(sliders)) control.show(at(knob), words[at(knob)]);
    const [alpha, sigma, cutoff] = Object.entries(sliders).map(([knob, [, words]]) => words[at(knob)]);
    const said = `${recursions[at("recursion")]} recursion, α = ${alpha}, noise ${sigma}, cut-off ${cutoff}`;
    drawMatrix(interactions.subarray(place * count * count, (place + 1) * count * count), said);
    const shown = times.length * count;
    const wrong = drawContents(contents.subarray(place * shown, (place + 1) * shown));
    const numbers = Object.entries(qualities).map(([name, values]) => `${name} ${values[place].toFixed(2).replace("-", "−")}`);
    status.textContent = `${said}: ${numbers.join(", ")}; ${wrong} of the ${shown} contents below have the wrong sign`;
  }

  const numbered = (values) => (value) => (typeof value === "number" ? nearest(values, value) : value);
  const byName = (value) => (recursions.includes(value) ? recursions.indexOf(value) : value);
  const deaf = heed(model, el, Object.keys(knobs), {
    recursion: (value) => ({ recursion: byName(value) }),
    alpha: (value) => ({ alpha: numbered(alphas)(value) }),
    sigma: (value) => ({ sigma: numbered(sigmas)(value) }),
    cutoff: (value) => ({ cutoff: numbered(cutoffs)(value) }),
  });
  el.append(html("div", { class: "emt-explorer emt-knobs emt-travel" },
    ...(recursions.length > 1 ? [labelled("Recursion", recursion)] : []),
    ...Object.values(sliders).map(([control]) => control.element), status,
    note("heading", "Ψ* W_hh Ψ, oldest variable first"), matrix,
    note("heading", `contents at t = ${times.join(", ")}, oldest variable on top`), strip,
    note("key", "Filled square: plus. Ring: minus. Area: modulus. Box: Φ has an entry here. Cross: wrong sign."),
    ...captionOf(model)));
  redraw();
  return () => {
    deaf();
    release();
  };
}

export default { render };
