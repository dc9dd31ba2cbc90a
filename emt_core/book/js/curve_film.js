// Several curves over the same points, picture by picture, on one scale for all pictures.

const TALL = 250;

// [[first, end), ...]: where `known` holds without a break
export function runs(known) {
  const found = [];
  known.forEach((yes, i) => {
    if (!yes) return;
    if (i && known[i - 1]) found.at(-1)[1] = i + 1;
    else found.push([i, i + 1]);
  });
  return found;
}

function render({ model, el }) {
  const simple = ["frames", "labels", "points", "x_label", "y_label", "frame_label", "log"];
  const [frames, labels, points, xLabel, yLabel, frameLabel, log] = simple.map((name) => model.get(name));
  const [x, curves, low, high] = ["x", "curves", "low", "high"].map((name) => floats(model.get(name)));
  const [last, count, end] = [frames.length - 1, labels.length, points.length - 1];
  const banded = low.length > 0;
  const part = (values, f, k) => values.subarray((f * count + k) * x.length, (f * count + k + 1) * x.length);

  const all = [...curves, ...(banded ? [...low, ...high] : [])];
  const usable = all.filter((value) => !Number.isNaN(value) && !(log && value <= 0));
  let [bottom, top] = usable.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  if (!(bottom <= top)) [bottom, top] = [log ? 0.1 : 0, 1];
  if (log) [bottom, top] = [Math.log10(bottom), Math.log10(top)];
  else if (bottom > 0 && bottom < top / 2) bottom = 0;
  const spare = 0.03 * (top - bottom) || (log ? 0.3 : Math.abs(top) / 10 || 1);
  const ys = [bottom === 0 && !log ? 0 : bottom - spare, top + spare];
  const onScale = (value) => (log ? (value > 0 ? Math.log10(value) : ys[0]) : value); // a band may reach below zero

  const room = end ? 0.03 * (x[end] - x[0]) : 1;
  const xs = [x[0] - room, x[end] + room];
  const marked = model.get("named") || points.length <= 10 ? spaced() : ticks(...xs, 6);
  const plot = panel(TALL, 8, xs, ys, marked, log ? powers(...ys) : ticks(...ys, 4));
  // Every point's name, or as many as do not touch.
  function spaced() {
    const width = (i) => 4 + 8 * points[i].length;
    const place = (i) => ((WIDTH - LEFT - RIGHT) * (x[i] - xs[0])) / (xs[1] - xs[0]);
    let free = -Infinity;
    return points.flatMap((name, i) => {
      if (place(i) - width(i) / 2 < free) return [];
      free = place(i) + width(i) / 2;
      return [[x[i], name]];
    });
  }

  const cursor = svg("path", { d: `M0 8V${TALL - BOTTOM}`, class: "emt-cursor" });
  const drawing = svg("g");
  plot.element.append(cursor, drawing);
  const hue = (k) => `--hue: ${HUES[k]}`;
  function draw(f) {
    const bands = [];
    const lines = [];
    const marks = [];
    labels.forEach((_, k) => {
      const values = part(curves, f, k);
      const place = (i, some) => `${plot.x(x[i])},${plot.y(clamp(onScale(some[i]), ...ys))}`;
      if (banded) {
        const [under, over] = [part(low, f, k), part(high, f, k)];
        for (const [from, to] of runs([...under].map((value, i) => !Number.isNaN(value) && !Number.isNaN(over[i])))) {
          const across = Array.from({ length: to - from }, (_, i) => from + i);
          const corners = [...across.map((i) => place(i, over)), ...across.reverse().map((i) => place(i, under))];
          bands.push(svg("polygon", { points: corners.join(" "), class: "emt-band", style: hue(k) }));
        }
      }
      for (const [from, to] of runs([...values].map((value) => !Number.isNaN(value)))) {
        const across = Array.from({ length: to - from }, (_, i) => place(from + i, values));
        lines.push(svg("polyline", { points: across.join(" "), class: "emt-trace", style: hue(k) }));
        across.forEach((at) => marks.push(
          svg("path", { d: SHAPES[k], class: "emt-mark", style: hue(k), transform: `translate(${at.replace(",", " ")})` })));
      }
    });
    drawing.replaceChildren(...bands, ...lines, ...(x.length > 60 ? [] : marks));
  }

  const nameOf = (f) => `${frameLabel ? `${frameLabel} ` : ""}${frames[f]}`;
  function describe(f) {
    const i = clamp(model.get("point"), 0, end);
    const values = labels.map((label, k) => {
      const [value, from, to] = [curves, low, high].map((some) => part(some, f, k)[i]);
      const band = banded && !Number.isNaN(from) && !Number.isNaN(to) ? ` (${digits(from)} to ${digits(to)})` : "";
      return `${label} ${digits(value)}${band}`;
    });
    return `${nameOf(f)}, ${xLabel} ${points[i]}: ${values.join("; ")}`;
  }

  const status = statusLine();
  const framed = note("heading");
  const { put, release } = shared(model, ["frame", "point"], () => time.show(clamp(model.get("frame"), 0, last)));
  function onMove(f) {
    const i = clamp(model.get("point"), 0, end);
    draw(f);
    cursor.setAttribute("transform", `translate(${plot.x(x[i])} 0)`);
    framed.textContent = `${yLabel} against ${xLabel}, ${nameOf(f)}`;
    status.textContent = describe(f);
    plot.element.setAttribute("aria-label", `${framed.textContent}; ${labels.length} curves; at ${describe(f)}`);
    pointer.show(i, points[i]);
    if (model.get("frame") === f) return;
    model.set("frame", f);
    model.save_changes();
  }
  const pointer = slider(`Point to read, ${xLabel}`, 0, end, 1, (point) => put({ point }));
  pickable(plot, x, (point) => put({ point }));
  const deaf = heed(model, el, ["frame", "point"]);
  const start = clamp(model.get("frame"), 0, last);
  const time = timeline({ label: frameLabel || "Picture", last, start, period: 600, status, describe, onMove });

  const key = note("key", ...labels.map((label, k) => {
    const picture = svg("svg", { viewBox: "-11 -9 22 18", "aria-hidden": "true", style: hue(k) });
    picture.append(svg("path", { d: "M-11 0H11", class: "emt-trace" }), svg("path", { d: SHAPES[k], class: "emt-mark" }));
    return html("span", {}, picture, label);
  }));
  el.append(html("div", { class: "emt-explorer emt-curves" }, framed, plot.element, key,
    ...(last ? [time.element] : []), ...(end ? [pointer.element] : []), status, ...captionOf(model)));
  time.show(start);
  return () => {
    time.stop();
    deaf();
    release();
  };
}

export default { render };
