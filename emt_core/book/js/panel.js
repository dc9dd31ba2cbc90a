// Axes for curves, put between common.js and the explorers that draw them.

const WIDTH = 400;
const [LEFT, RIGHT, BOTTOM] = [54, 18, 26]; // margins in which the numbers stand

// Round numbers from low to high, about `wanted` of them, each with its text.
function ticks(low, high, wanted) {
  const power = 10 ** Math.floor(Math.log10((high - low) / wanted));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power * wanted >= 0.999 * (high - low));
  const digits = Math.max(0, -Math.floor(Math.log10(1.001 * step)));
  const [first, final] = [Math.ceil(low / step - 1e-6), Math.floor(high / step + 1e-6)];
  return Array.from({ length: final - first + 1 }, (_, i) => (first + i) * step)
    .map((value) => [value, value.toFixed(digits).replace("-", "−")]);
}

// Axes with their numbers. xs and ys: [low, high]; marks and rungs: [[x, text], ...] and [[y, text], ...].
function panel(height, top, xs, ys, marks, rungs = ticks(...ys, 4)) {
  const floor = height - BOTTOM;
  const x = (value) => LEFT + ((WIDTH - LEFT - RIGHT) * (value - xs[0])) / (xs[1] - xs[0]);
  const y = (value) => floor - ((floor - top) * (value - ys[0])) / (ys[1] - ys[0]);
  const element = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img" });
  const line = (d) => element.append(svg("path", { d, class: "emt-axis" }));
  const write = (at, up, words, attributes) =>
    element.append(svg("text", { x: at, y: up, class: "emt-text", ...attributes }, words));
  line(`M${LEFT} ${top}V${floor}H${WIDTH - RIGHT}`);
  for (const [value, words] of marks) {
    line(`M${x(value)} ${floor}v6`);
    write(x(value), height - 4, words);
  }
  for (const [value, words] of rungs) {
    line(`M${LEFT} ${y(value)}H${WIDTH - RIGHT}`);
    write(LEFT - 6, y(value) + 5, words, { class: "emt-text emt-left" });
  }
  const points = (across, up) => Array.from(across, (value, i) => `${x(value)},${y(up[i])}`).join(" ");
  return { element, x, y, points, write };
}

// A press on the plot, or a drag over it, chooses the nearest of the points `across`; a slider does so by keyboard.
function pickable(plot, across, onPick) {
  function pick(event) {
    const box = plot.element.getBoundingClientRect();
    const at = ((event.clientX - box.left) * WIDTH) / box.width;
    const gaps = Array.from(across, (value) => Math.abs(plot.x(value) - at));
    onPick(gaps.indexOf(Math.min(...gaps)));
  }
  plot.element.classList.add("emt-pick");
  plot.element.addEventListener("pointerdown", pick);
  plot.element.addEventListener("pointermove", (event) => event.buttons === 1 && pick(event));
}

function digits(value) {
  if (Number.isNaN(value)) return "none";
  const size = Math.abs(value);
  const plain = size < 100 ? value.toPrecision(3) : value.toFixed(0);
  const text = Number.isInteger(value) ? String(value) : size >= 0.01 && size < 1e5 ? plain : value.toExponential(1);
  return text.replaceAll("-", "−");
}

// Numbers on a logarithmic axis from 10^low to 10^high: whole powers, between them 2 and 5 where few of these fit.
export function powers(low, high) {
  const every = Math.max(1, Math.ceil((high - low) / 6));
  const factors = high - low < 2 ? [1, 2, 5] : [1];
  const name = (factor, power) => Math.abs(power) < 3
    ? (factor * 10 ** power).toFixed(Math.max(0, -power))
    : `${factor > 1 ? `${factor}·` : ""}10${superscript(power)}`;
  const found = [];
  for (let power = Math.floor(low); power <= high; power++)
    for (const factor of power % every ? [] : factors) found.push([power + Math.log10(factor), name(factor, power)]);
  const shown = found.filter(([at]) => at >= low && at <= high);
  return shown.length > 1 ? shown : [low, high].map((at) => [at, digits(10 ** at)]);
}
