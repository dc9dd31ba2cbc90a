// Networks in a triangle. The lower corners are ways to keep positions apart, the upper one is the overlap that is left.

const [HIGH, TOP, REACH] = [376, 34, 28]; // of the picture; above the triangle; how far off a press still finds a dot
const CORNERS = [[26, 336], [374, 336], [200, 336 - 348 * Math.sqrt(0.75)]];
const VIEWS = [["triangle", "triangle"], ["size", "overlap × size"]];
const WIDE = 7.4; // a letter of a name, about
const CELL = 20; // of the matrix of overlaps

// Shares of the three corners to a place in the picture.
export const placed = (shares) => [0, 1].map((axis) =>
  CORNERS.reduce((sum, corner, k) => sum + shares[k] * corner[axis], 0));

// Over pairs of different positions.
export function meanOverlap(matrix) {
  const length = Math.sqrt(matrix.length);
  const apart = matrix.reduce((sum, value, i) => sum + (i % (length + 1) ? value : 0), 0);
  return apart / (length * (length - 1));
}

// Where an arrow leads from network i: left and right to the next one in sight, up and down to the next group.
export function ways(seen, groupOf, i) {
  const at = seen.indexOf(i);
  const firsts = seen.filter((j, n) => n === 0 || groupOf(j) !== groupOf(seen[n - 1]));
  const own = firsts.findIndex((j) => groupOf(j) === groupOf(i));
  return { ArrowRight: seen[at + 1], ArrowLeft: seen[at - 1], ArrowDown: firsts[own + 1], ArrowUp: firsts[own - 1],
    Home: seen[0], End: seen.at(-1) };
}

// A network's name with its group, unless the name begins with it.
const full = ({ name, group }) => (name.startsWith(group) ? name : `${name} (${group})`);

const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
const extent = (values) => [Math.min(...values), Math.max(...values)];

// The borders of the triangle, and lines at a quarter, a half and three quarters of each share.
function frame(corners) {
  const path = (points) => `M${points.map((point) => placed(point).join(" ")).join("L")}`;
  const lines = [0.25, 0.5, 0.75].flatMap((level) => [0, 1, 2].map((k) => {
    const end = (other) => [0, 1, 2].map((j) => (j === k ? level : j === other ? 1 - level : 0));
    return svg("path", { d: path([end((k + 1) % 3), end((k + 2) % 3)]), class: "emt-axis" });
  }));
  const border = svg("path", { d: `${path([[1, 0, 0], [0, 1, 0], [0, 0, 1]])}Z`, class: "emt-border" });
  const places = [[2, HIGH - 14, "emt-start"], [WIDTH - 2, HIGH - 14, "emt-left"], [WIDTH / 2, TOP - 14, ""]];
  const names = corners.map((words, k) =>
    svg("text", { x: places[k][0], y: places[k][1], class: `emt-text emt-corner ${places[k][2]}` }, words));
  return svg("g", { "aria-hidden": "true" }, ...lines, border, ...names);
}

// The axes of the second view, and where (overlap, logarithm of the size) lies on them.
function plane(logs) {
  const [low, high] = extent(logs);
  const spare = 0.06 * (high - low) || 0.3;
  const ys = [low - spare, high + spare];
  const plot = panel(HIGH - 22, TOP, [-0.02, 1.02], ys, ticks(0, 1, 5), powers(...ys));
  plot.write((LEFT + WIDTH - RIGHT) / 2, HIGH - 2, "mean overlap of two positions", {});
  plot.write(2, 14, "size of the last layer over the first", { class: "emt-text emt-start" });
  return { element: svg("g", { "aria-hidden": "true" }, ...plot.element.childNodes), x: plot.x, y: plot.y };
}

// The matrix of overlaps: a darker cell (in the dark scheme a lighter one) is a larger overlap.
function heatMap(matrix) {
  const length = Math.sqrt(matrix.length);
  const [edge, side] = [16, length * CELL];
  const picture = svg("svg", { viewBox: `-${edge} -${edge} ${side + edge + 1} ${side + edge + 31}`, role: "img" });
  const write = (x, y, words, kind = "") => svg("text", { x, y, class: `emt-text emt-small ${kind}` }, words);
  for (let p = 0; p < length; p++)
    picture.append(write((p + 0.5) * CELL, -4, p), write(-9, (p + 0.5) * CELL + 4.5, p));
  const filled = (box, value) =>
    svg("rect", { ...box, class: "emt-heat", style: `--level: ${(100 * value).toFixed(1)}%` });
  matrix.forEach((value, i) => {
    const [x, y] = [(i % length) * CELL, Math.floor(i / length) * CELL];
    picture.append(filled({ x, y, width: CELL, height: CELL }, value));
  });
  const steps = 10;
  for (let k = 0; k <= steps; k++)
    picture.append(filled({ x: side / 2 - 55 + k * 10, y: side + 10, width: 10, height: 12 }, k / steps));
  picture.append(write(side / 2 - 64, side + 21, "0"), write(side / 2 + 64, side + 21, "1"));
  const neighbours = Array.from({ length: length - 1 }, (_, p) => matrix[p * length + p + 1]);
  const mean = neighbours.reduce((sum, value) => sum + value, 0) / neighbours.length;
  picture.setAttribute("aria-label", `Overlaps of positions 0 to ${length - 1}: mean ${digits(meanOverlap(matrix))}; ` +
    `of neighbours ${digits(mean)}; of the first and the last ${digits(matrix[length - 1])}. All in the table below`);
  return picture;
}

// Sizes over the first one's, by position; `range` of their logarithms is that of all networks.
function sizeCurve(sizes, log, range, mark) {
  const last = sizes.length - 1;
  const spare = 0.06 * (range[1] - range[0]) || 0.3;
  const ys = log ? [range[0] - spare, range[1] + spare] : [0, 1.08 * Math.max(1, ...sizes)];
  const every = sizes.length > 9 ? 2 : 1;
  const marks = [...sizes.keys()].filter((p) => p % every === 0).map((p) => [p, String(p)]);
  const plot = panel(170, 10, [-0.3, last + 0.3], ys, marks, log ? powers(...ys) : ticks(...ys, 3));
  const up = sizes.map((size) => (log ? Math.log10(size) : size));
  plot.element.append(svg("polyline", { points: plot.points(sizes.keys(), up), class: "emt-trace" }),
    ...Array.from(up, (value, p) => mark(`translate(${plot.x(p)} ${plot.y(value)}) scale(1.5)`)));
  plot.element.setAttribute("aria-label",
    `Size of each layer over the first, by position: ${Array.from(sizes, digits).join(", ")}`);
  return plot.element;
}

// The same as text, for all who want the numbers.
function table(matrix, sizes) {
  const positions = [...sizes.keys()];
  const size = (p) => (sizes[p] >= 0.01 && sizes[p] < 10 ? sizes[p].toFixed(2) : digits(sizes[p]));
  const heads = [...positions, "size"].map((words) => html("th", { scope: "col" }, words));
  const rows = positions.map((p) => {
    const overlaps = positions.map((q) => Math.round(100 * matrix[p * sizes.length + q]));
    const cells = [...overlaps, size(p)].map((words) => html("td", {}, words));
    return html("tr", {}, html("th", { scope: "row" }, p), ...cells);
  });
  return html("table", { style: `--columns: ${sizes.length}` },
    html("caption", {}, "overlap of two positions in %, and each layer's size over the first"),
    html("tr", {}, html("td"), ...heads), ...rows);
}

function render({ model, el }) {
  const corners = model.get("corners");
  const networks = model.get("networks").map((network) => {
    const [matrix, sizes] = [floats(network.overlaps), floats(network.sizes)];
    return { ...network, matrix, sizes: sizes.map((size) => size / sizes[0]), overlap: meanOverlap(matrix) };
  });
  const groups = [...new Set(networks.map(({ group }) => group))];
  const kindOf = (i) => groups.indexOf(networks[i].group);
  const height = (i) => networks[i].place[2];
  const order = [...networks.keys()].sort((i, j) => kindOf(i) - kindOf(j) || height(i) - height(j));
  const logs = networks.map(({ sizes }) => Math.log10(sizes.at(-1)));
  const range = extent(networks.flatMap(({ sizes }) => Array.from(sizes, Math.log10)));

  const { put, release } = shared(model, ["network", "shown", "view", "log"], redraw);
  const chosen = () => clamp(model.get("network"), 0, networks.length - 1);
  const shown = () => groups.filter((group) => model.get("shown").includes(group));
  const inSight = (i) => i === chosen() || model.get("shown").includes(networks[i].group);

  const style = (k) => `--hue: ${HUES[k % HUES.length]}`;
  const look = (k) => `emt-mark${k < SHAPES.length ? "" : " emt-hollow"}`;
  const shape = (k, transform) => svg("path", { d: SHAPES[k % SHAPES.length], class: look(k), transform });
  const told = ({ place, ...named }) =>
    `${full(named)}: ${place.map((share, k) => `${corners[k].split(" ")[0]} ${percent(share)}`).join(", ")}`;

  const dots = networks.map((network, i) => {
    const dot = svg("g", { class: "emt-network", role: "button", style: style(kindOf(i)), "aria-label": told(network) },
      svg("circle", { r: 13, class: "emt-focus" }), shape(kindOf(i), "scale(1.45)"));
    for (const event of ["pointerenter", "focus"]) dot.addEventListener(event, () => point(i));
    for (const event of ["pointerleave", "blur"]) dot.addEventListener(event, () => point(chosen()));
    dot.addEventListener("focus", () => stops(i));
    dot.addEventListener("keydown", (event) => {
      const to = ways(order.filter(inSight), kindOf, i);
      if (event.key === "Enter" || event.key === " ") put({ network: i });
      else if (!(event.key in to)) return;
      event.preventDefault();
      dots[to[event.key]]?.focus();
    });
    return dot;
  });
  const stops = (i) => dots.forEach((dot, j) => dot.setAttribute("tabindex", i === j ? 0 : -1)); // one for all dots

  const [back, axes] = [frame(corners), plane(logs)];
  const ring = svg("circle", { r: 11, class: "emt-ring" });
  const label = svg("text", { class: "emt-text" });
  const over = svg("g", { class: "emt-over", "aria-hidden": "true" }, ring, label);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HIGH}`, role: "group", class: "emt-pick" },
    back, axes.element, ...order.map((i) => dots[i]), over);
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const at = [event.clientX - box.left, event.clientY - box.top].map((length) => (length * WIDTH) / box.width);
    const gap = (i) => (inSight(i) ? Math.hypot(...spot(i).map((value, axis) => value - at[axis])) : Infinity);
    const own = dots.indexOf(event.target.closest(".emt-network"));
    const nearest = own >= 0 ? own : order.reduce((best, i) => (gap(i) < gap(best) ? i : best));
    if (own >= 0 || gap(nearest) < REACH) put({ network: nearest });
  });
  const flat = () => model.get("view") !== "size";
  const spot = (i) => (flat() ? placed(networks[i].place) : [axes.x(networks[i].overlap), axes.y(logs[i])]);

  const sign = (k) =>
    svg("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true", style: style(k) }, shape(k, "scale(1.2)"));
  const legend = groups.map((group, k) => {
    const toggle = button(group, () => put({ shown: groups.filter((g) => (g === group) !== shown().includes(g)) }));
    toggle.prepend(sign(k));
    return toggle;
  });
  const onPaper = note("key emt-printed", ...groups.map((group, k) => html("span", {}, sign(k), group))); // no buttons
  const every = button("", () => put({ shown: shown().length < groups.length ? groups : [] }));
  const views = VIEWS.map(([view, words]) => button(words, () => put({ view })));
  const scale = button("log scale", () => put({ log: !model.get("log") }));

  const [title, status, numbers] = [note("heading"), statusLine(), html("dl")];
  const [matrix, curve, rows] = [html("div", { class: "emt-matrix" }), html("div"), html("div")];
  const link = html("a");

  // Where a name may stand beside a dot, within the picture: at its side, above and below; and how many dots it covers.
  function besides(x, y, name) {
    const width = WIDE * name.length;
    const right = x > WIDTH / 2;
    const middle = clamp(x, width / 2, WIDTH - width / 2);
    return [[x + (right ? -17 : 17), y + 5, right ? "emt-left" : "emt-start"], [middle, y - 16, ""], [middle, y + 25, ""]];
  }

  function covered([x, y, side]) {
    const width = WIDE * label.textContent.length;
    const from = side === "emt-start" ? x : side === "emt-left" ? x - width : x - width / 2;
    return networks.filter((_, j) => {
      const [left, top] = spot(j);
      return inSight(j) && left > from - 7 && left < from + width + 7 && Math.abs(top - y + 5) < 13;
    }).length;
  }

  // The panel of the network under the pointer or with the focus, or else of the chosen one.
  function point(i) {
    const network = networks[i];
    const [x, y] = spot(i);
    label.textContent = network.name;
    const [left, top, side] = besides(x, y, network.name).reduce((best, place) =>
      covered(place) < covered(best) ? place : best);
    append(label, { x: left, y: top, class: `emt-text ${side}` }, []);
    title.textContent = full(network);
    numbers.replaceChildren(...network.numbers.map(([key, value]) =>
      html("div", {}, html("dt", {}, key), html("dd", {}, digits(value)))));
    numbers.hidden = !network.numbers.length;
    matrix.replaceChildren(heatMap(network.matrix));
    const k = kindOf(i);
    curve.setAttribute("style", style(k));
    curve.replaceChildren(sizeCurve(network.sizes, model.get("log"), range, (transform) => shape(k, transform)));
    rows.replaceChildren(table(network.matrix, network.sizes));
    const [words, address] = network.link;
    link.textContent = words ?? "";
    link.hidden = !address;
    if (address) link.href = address;
  }

  function redraw() {
    const i = chosen();
    back.setAttribute("display", flat() ? "inline" : "none");
    axes.element.setAttribute("display", flat() ? "none" : "inline");
    dots.forEach((dot, j) => {
      const [x, y] = spot(j);
      dot.style.transform = `translate(${x}px, ${y}px)`;
      dot.setAttribute("display", inSight(j) ? "inline" : "none");
      dot.setAttribute("aria-pressed", j === i);
    });
    stops(i);
    const [x, y] = spot(i);
    ring.style.transform = `translate(${x}px, ${y}px)`;
    legend.forEach((toggle, k) => toggle.setAttribute("aria-pressed", shown().includes(groups[k])));
    every.textContent = shown().length < groups.length ? "show all" : "hide all";
    views.forEach((choice, k) => choice.setAttribute("aria-pressed", (VIEWS[k][0] === "triangle") === flat()));
    scale.setAttribute("aria-pressed", model.get("log"));
    const count = dots.filter((_, j) => inSight(j)).length;
    picture.setAttribute("aria-label", `${count} of ${networks.length} networks, ` +
      (flat() ? `in a triangle with the corners ${corners.join(", ")}` : "by mean overlap and size of the last layer") +
      ". Arrows left and right move to the next one, up and down to the next group, space chooses.");
    const { overlap, sizes } = networks[i];
    status.textContent = `${told(networks[i])}; mean overlap ${digits(overlap)}, ` +
      `size of the last layer over the first ${digits(sizes.at(-1))}`;
    point(i);
  }

  const byName = (value) => (typeof value === "string" ? networks.findIndex(({ name }) => name === value) : value);
  const deaf = heed(model, el, ["network", "shown", "view", "log"],
    { network: (value) => ({ network: byName(value) < 0 ? value : byName(value) }) });
  const row = (words, kind, ...buttons) =>
    html("div", { class: `emt-buttons ${kind}`, role: "group", "aria-label": words }, ...buttons);
  el.append(html("div", { class: "emt-explorer emt-networks" },
    html("div", { class: "emt-pair" },
      html("div", {}, row("What the picture shows", "", ...views),
        row("Groups in sight", "emt-legend", ...legend, every), picture, onPaper, status),
      html("div", {}, title, numbers, note("heading", "overlap of two positions"), matrix,
        html("div", { class: "emt-buttons" }, note("heading", "layer sizes (first: 1)"), scale), curve, link)),
    html("details", {}, html("summary", {}, "Overlaps and sizes as a table"), rows),
    note("key", "A dot is a network. The nearer it is to one of the lower corners, the more it keeps the tokens of " +
      "different positions apart in that way: by turning them, or by leading them to places of their own. Near the top " +
      "positions share their directions, and only size, if anything, tells them apart."),
    ...captionOf(model)));
  redraw();
  return () => {
    deaf();
    release();
  };
}

export default { render };
