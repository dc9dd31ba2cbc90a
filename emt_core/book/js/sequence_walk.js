// A network that recalls its memories in turn: overlaps against time, and the energy on the way from each to the next.

const HEIGHT = 180;
const NAMES = 22; // room above the upper panel for the memories' names
const BALL = 7;
const FLAT = 0.005; // a rise by this share of all that the lower panel spans is no barrier

// The energy at a place on the path, linear between its points.
function energyAt(path, energy, place) {
  const found = path.findIndex((value) => value >= place);
  const i = found < 0 ? path.length - 1 : Math.max(1, found);
  return energy[i - 1] + ((energy[i] - energy[i - 1]) * (place - path[i - 1])) / (path[i] - path[i - 1]);
}

// How far the energy rises above a memory (1 … K) on the way to the next: 0 where it only falls.
export function barrier(path, energy, memory) {
  const start = energyAt(path, energy, memory);
  const between = energy.filter((_, i) => path[i] > memory && path[i] < memory + 1);
  return Math.max(start, energyAt(path, energy, memory + 1), ...between) - start;
}

function render({ model, el }) {
  const [times, labels] = ["times", "labels"].map((name) => model.get(name));
  const packed = ["overlaps", "surface", "path", "position"];
  const [overlaps, surface, path, position] = packed.map((name) => floats(model.get(name)));
  const [last, count] = [times.length - 1, labels.length];
  const overlap = (k) => times.map((_, f) => overlaps[f * count + k]);
  const energy = (f) => surface.subarray(f * path.length, (f + 1) * path.length);
  const highest = (values) => values.indexOf(Math.max(...values));
  const nearest = times.map((_, f) => highest(overlaps.subarray(f * count, (f + 1) * count)));
  const extent = (values, start) => values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], start);
  // Two digits of the shortest step, so that no two frames read alike.
  const step = Math.min(...times.slice(1).map((time, f) => time - times[f]));
  const digits = Math.min(6, Math.max(0, Math.ceil(1 - Math.log10(step))));

  const ends = [times[0], times[last]];
  const above = panel(HEIGHT, NAMES, ends, extent(overlaps, [0, 1]), ticks(...ends, 6));
  const hue = (k) => `--hue: ${137.5 * k}`; // the golden angle: memories that follow each other differ clearly
  const traces = labels.map((_, k) =>
    svg("polyline", { points: above.points(times, overlap(k)), class: "emt-trace", style: hue(k) }));
  const cursor = svg("path", { d: `M0 ${NAMES - 4}V${HEIGHT - BOTTOM}`, class: "emt-cursor" });
  above.element.append(...traces, cursor);
  // A name wherever a memory is nearest for long enough to write it; one that never is has it at its peak.
  const unnamed = new Set(labels.keys());
  function name(k, x, y) {
    unnamed.delete(k);
    above.write(x, y, labels[k], { class: "emt-text emt-name", style: hue(k) });
  }
  for (let from = 0, to; from <= last; from = to) {
    for (to = from + 1; nearest[to] === nearest[from]; ) to++;
    const [left, right] = [above.x(times[from]), above.x(times[Math.min(to, last)])];
    if (right - left > 9 * labels[nearest[from]].length) name(nearest[from], (left + right) / 2, NAMES - 8);
  }
  for (const k of unnamed) name(k, above.x(times[highest(overlap(k))]), above.y(Math.max(...overlap(k))) - 4);

  const [low, high] = extent(surface, [Infinity, -Infinity]);
  const span = high - low || 1;
  const places = [...labels, labels[0]].map((text, k) => [k + 1, text]);
  const below = panel(200, 4, [1, count + 1], [low - 0.03 * span, high + 0.08 * span], places); // the ball needs room
  const curve = svg("polyline", { class: "emt-energy" });
  const ball = svg("circle", { r: BALL, class: "emt-ball" });
  below.element.append(svg("polyline", { points: below.points(path, energy(0)), class: "emt-first" }), curve, ball);

  function describe(f) {
    const [now, next] = [labels[nearest[f]], labels[(nearest[f] + 1) % count]];
    const rise = barrier(path, energy(f), nearest[f] + 1);
    const flat = rise <= FLAT * span;
    const ahead = flat ? `no barrier to ${next}: it rolls on` : `barrier to ${next}: ${Number(rise.toPrecision(2))}`;
    const held = overlaps[f * count + nearest[f]].toFixed(2).replace("-", "−");
    const away = Number.isNaN(position[f]) ? "; away from the path" : "";
    return `t = ${times[f].toFixed(digits)}: nearest memory ${now} (overlap ${held})${away}; ${ahead}`;
  }

  function onMove(f) {
    traces.forEach((trace, k) => trace.classList.toggle("emt-now", k === nearest[f]));
    cursor.setAttribute("transform", `translate(${above.x(times[f])} 0)`);
    curve.setAttribute("points", below.points(path, energy(f)));
    const place = position[f]; // NaN: near no part of the path
    ball.style.visibility = Number.isNaN(place) ? "hidden" : "visible";
    if (place) append(ball, { cx: below.x(place), cy: below.y(energyAt(path, energy(f), place)) - BALL }, []);
    status.textContent = describe(f);
    above.element.setAttribute("aria-label", `Overlap with each of ${count} memories against time; ${describe(f)}`);
    below.element.setAttribute("aria-label", `Energy along the path through the memories; ${describe(f)}`);
    model.set("frame", f);
    model.save_changes();
  }

  const status = statusLine();
  const start = Math.min(model.get("frame"), last);
  const time = timeline({ label: "Time", last, start, period: 120, status, describe, onMove });
  const follow = () => model.get("frame") !== time.position() && time.show(model.get("frame"));
  model.on("change:frame", follow);
  const deaf = heed(model, el, ["frame"]);

  const [heading, key, caption] = ["heading", "key", "caption"].map((kind) => (text) =>
    html("p", { class: `emt-${kind}` }, text));
  el.append(html("div", { class: "emt-explorer emt-walk" },
    heading("overlap with each memory, against time"), above.element,
    heading(`energy along the path ${labels[0]} → ${labels[1]} → … → ${labels[0]}, minus its mean`), below.element,
    time.element, status,
    key("Thick line: the nearest memory. Ball: the state. Dotted: the energy at the start."),
    ...(model.get("caption") ? [caption(model.get("caption"))] : [])));
  time.show(start);
  return () => {
    time.stop();
    deaf();
    model.off("change:frame", follow);
  };
}

export default { render };
