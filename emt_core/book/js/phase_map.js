// A grid of training settings: what became of the networks trained with each, and the eigenvalues of every one of them.

// Over the seeds that were measured; NaN where none was.
function mean(values) {
  const known = values.filter((value) => !Number.isNaN(value));
  return known.reduce((sum, value) => sum + value, 0) / known.length;
}

const read = (value) => (Number.isNaN(value) ? "not measured" : value.toFixed(2));

function render({ model, el }) {
  const names = ["rows", "columns", "row_name", "column_name", "row_unit", "column_unit", "seeds", "theory", "threshold"];
  const [rows, columns, rowName, columnName, rowUnit, columnUnit, seeds, theory, threshold] =
    names.map((name) => model.get(name));
  const explain = model.get("explain");
  const layers = Object.entries(model.get("layers")).map(([name, text]) => ({ name, values: floats(text) }));
  const values = floats(model.get("spectra")); // rows × columns × seeds × N × (real, imaginary), NaN: no eigenvalue
  const count = values.length / (rows.length * columns.length * seeds) / 2;
  const plane = complexPlane({ values, count, theory, threshold });
  const ofCell = (layer, i) => layer.values.subarray(i * seeds, (i + 1) * seeds);
  const spaced = (unit) => (unit ? ` ${unit}` : "");
  const setting = (i) => `${rowName} ${rows[Math.floor(i / columns.length)]}${spaced(rowUnit)}, ` +
    `${columnName} ${columns[i % columns.length]}${spaced(columnUnit)}`;

  function wanted() {
    const [row, column] = model.get("cell");
    return clamp(row, 0, rows.length - 1) * columns.length + clamp(column, 0, columns.length - 1);
  }
  let chosen = wanted();
  let seed = clamp(model.get("seed"), 0, seeds - 1);
  let shown = layers[0];

  const status = statusLine();
  const heading = html("p", { class: "emt-heading" });
  const counted = html("p", { class: "emt-heading" });
  const under = note("under"); // the cell under the pointer, or the chosen one: what a cell's own name says, in sight
  const axis = (name, unit) => (unit ? `${name} (${unit})` : name);
  const hidden = { "aria-hidden": "true" };
  const grid = html("div", { class: "emt-grid", role: "group" },
    html("span", { class: "emt-row", ...hidden }, `${axis(rowName, rowUnit)} ↓`),
    html("span", { class: "emt-title", ...hidden }, `${axis(columnName, columnUnit)} →`), html("span"));
  grid.style.setProperty("--columns", columns.length);
  for (const text of columns) grid.append(html("span", { class: "emt-column", "aria-hidden": "true" }, text));
  const cells = [];
  for (const text of rows) {
    grid.append(html("span", { class: "emt-row", "aria-hidden": "true" }, text));
    for (const _ of columns) {
      const i = cells.length;
      const cell = button("", () => chooseCell(i), { class: "emt-cell" });
      for (const event of ["pointerenter", "focus"]) cell.addEventListener(event, () => point(i));
      for (const event of ["pointerleave", "blur"]) cell.addEventListener(event, () => point(chosen));
      cells.push(grid.appendChild(cell));
    }
  }
  roving(cells, columns.length, chosen);

  const choices = layers.map((layer) => button(layer.name, () => chooseLayer(layer)));
  function words(i) {
    const known = [...ofCell(shown, i)].filter((value) => !Number.isNaN(value));
    const spread = known.length > 1 ? ` (${read(Math.min(...known))} to ${read(Math.max(...known))})` : "";
    const of = known.length ? `, mean over ${known.length} seed${known.length > 1 ? "s" : ""}${spread}` : "";
    return `${setting(i)}: ${shown.name} ${read(mean(known))}${of}`;
  }
  const point = (i) => (under.textContent = words(i));
  function chooseLayer(layer) {
    shown = layer;
    choices.forEach((choice, i) => choice.setAttribute("aria-pressed", layers[i] === layer));
    cells.forEach((cell, i) => {
      const value = mean(ofCell(layer, i));
      cell.textContent = Number.isNaN(value) ? "–" : value.toFixed(2);
      cell.style.setProperty("--level", `${100 * (value || 0)}%`);
      cell.setAttribute("aria-label", words(i));
    });
    const meaning = explain[layer.name] ? ` (${explain[layer.name]})` : "";
    heading.textContent = `${layer.name}${meaning}, from 0 to 1, mean over ${seeds} seed${seeds > 1 ? "s" : ""}`;
    grid.setAttribute("aria-label",
      `${heading.textContent}; rows: ${rowName}, columns: ${columnName}. Arrow keys move, space chooses.`);
    point(chosen);
  }

  const seedSlider = slider("Seed", 0, seeds - 1, 1, (s) => chooseSeed(s));

  function update() {
    const network = chosen * seeds + seed;
    const own = layers.map((layer) => `${layer.name} ${read(layer.values[network])}`).join(", ");
    const means = layers.map((layer) => `${layer.name} ${read(mean(ofCell(layer, chosen)))}`).join(", ");
    status.textContent = `${setting(chosen)}, seed ${seed}: ${own}. Mean over the seeds: ${means}`;
    const measured = values.subarray(2 * network * count, 2 * (network + 1) * count).some((x) => !Number.isNaN(x));
    counted.textContent = measured ? plane.describe(network) : "eigenvalues not measured";
    plane.show(network, `Complex plane, ${setting(chosen)}, seed ${seed}: ${counted.textContent}`);
    cells.forEach((cell, i) => cell.setAttribute("aria-pressed", i === chosen));
    seedSlider.show(seed, String(seed));
    point(chosen);
  }
  function chooseCell(i) {
    chosen = i;
    update();
    model.set("cell", [Math.floor(i / columns.length), i % columns.length]);
    model.save_changes();
  }
  function chooseSeed(s) {
    seed = s;
    update();
    model.set("seed", s);
    model.save_changes();
  }
  const followCell = () => wanted() !== chosen && chooseCell(wanted());
  const followSeed = () => model.get("seed") !== seed && chooseSeed(clamp(model.get("seed"), 0, seeds - 1));
  model.on("change:cell", followCell);
  model.on("change:seed", followSeed);
  const deaf = heed(model, el, ["cell", "seed"]);

  el.append(html("div", { class: "emt-explorer emt-map" },
    html("div", { class: "emt-buttons", role: "group", "aria-label": "What the grid shows" },
      html("span", {}, "Show:"), ...choices), heading,
    html("div", { class: "emt-pair" },
      html("div", {}, grid, under, seedSlider.element, status),
      html("div", {}, counted, plane.element, plane.key)),
    ...captionOf(model)));
  chooseLayer(layers[0]);
  update();
  return () => {
    deaf();
    model.off("change:cell", followCell);
    model.off("change:seed", followSeed);
  };
}

export default { render };
