// A grid of training settings: what became of the networks trained with each, and the eigenvalues of every one of them.

// Over the seeds that were measured; NaN where none was.
function mean(values) {
  const known = values.filter((value) => !Number.isNaN(value));
  return known.reduce((sum, value) => sum + value, 0) / known.length;
}

const read = (value) => (Number.isNaN(value) ? "not measured" : value.toFixed(2));

function render({ model, el }) {
  const names = ["rows", "columns", "row_name", "column_name", "seeds", "theory", "threshold"];
  const [rows, columns, rowName, columnName, seeds, theory, threshold] = names.map((name) => model.get(name));
  const layers = Object.entries(model.get("layers")).map(([name, text]) => ({ name, values: floats(text) }));
  const values = floats(model.get("spectra")); // rows × columns × seeds × N × (real, imaginary), NaN: no eigenvalue
  const count = values.length / (rows.length * columns.length * seeds) / 2;
  const plane = complexPlane({ values, count, theory, threshold });
  const ofCell = (layer, i) => layer.values.subarray(i * seeds, (i + 1) * seeds);
  const setting = (i) =>
    `${rowName} ${rows[Math.floor(i / columns.length)]}, ${columnName} ${columns[i % columns.length]}`;

  // What a kernel sets may lie outside the grid.
  const within = (value, length) => Math.min(Math.max(0, value), length - 1);
  function wanted() {
    const [row, column] = model.get("cell");
    return within(row, rows.length) * columns.length + within(column, columns.length);
  }
  let chosen = wanted();
  let seed = within(model.get("seed"), seeds);

  const status = statusLine();
  const heading = html("p", { class: "emt-heading" });
  const counted = html("p", { class: "emt-heading" });
  const grid = html("div", { class: "emt-grid", role: "group" }, html("span"));
  grid.style.setProperty("--columns", columns.length);
  for (const text of columns) grid.append(html("span", { class: "emt-column", "aria-hidden": "true" }, text));
  const cells = [];
  for (const text of rows) {
    grid.append(html("span", { class: "emt-row", "aria-hidden": "true" }, text));
    for (const _ of columns) {
      const i = cells.length;
      cells.push(grid.appendChild(button("", () => chooseCell(i), { class: "emt-cell" })));
    }
  }
  roving(cells, columns.length, chosen);

  const choices = layers.map((layer) => button(layer.name, () => chooseLayer(layer)));
  function chooseLayer(layer) {
    choices.forEach((choice, i) => choice.setAttribute("aria-pressed", layers[i] === layer));
    cells.forEach((cell, i) => {
      const value = mean(ofCell(layer, i));
      cell.textContent = Number.isNaN(value) ? "–" : value.toFixed(2);
      cell.style.setProperty("--level", `${100 * (value || 0)}%`);
      cell.setAttribute("aria-label", `${setting(i)}: ${layer.name} ${read(value)}`);
    });
    heading.textContent =
      `${layer.name}, mean over ${seeds} seed${seeds > 1 ? "s" : ""}; rows: ${rowName}, columns: ${columnName}`;
    grid.setAttribute("aria-label", `${heading.textContent}. Arrow keys move, space chooses.`);
  }

  const seedName = html("span");
  const slider = html("input", { type: "range", min: 0, max: seeds - 1, step: 1, value: seed, "aria-label": "Seed" });
  slider.addEventListener("input", () => chooseSeed(Number(slider.value)));

  function update() {
    const network = chosen * seeds + seed;
    const own = layers.map((layer) => `${layer.name} ${read(layer.values[network])}`).join(", ");
    const means = layers.map((layer) => read(mean(ofCell(layer, chosen)))).join(", ");
    status.textContent = `${setting(chosen)}, seed ${seed}: ${own}; cell means ${means}`;
    const measured = values.subarray(2 * network * count, 2 * (network + 1) * count).some((x) => !Number.isNaN(x));
    counted.textContent = measured ? plane.describe(network) : "eigenvalues not measured";
    plane.show(network, `Complex plane, ${setting(chosen)}, seed ${seed}: ${counted.textContent}`);
    cells.forEach((cell, i) => cell.setAttribute("aria-pressed", i === chosen));
    seedName.textContent = `seed ${seed}`;
    slider.value = seed;
    slider.setAttribute("aria-valuetext", status.textContent);
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
  const followSeed = () => model.get("seed") !== seed && chooseSeed(within(model.get("seed"), seeds));
  model.on("change:cell", followCell);
  model.on("change:seed", followSeed);

  el.append(html("div", { class: "emt-explorer emt-map" },
    html("div", { class: "emt-buttons", role: "group", "aria-label": "What the grid shows" }, ...choices), heading,
    html("div", { class: "emt-pair" },
      html("div", {}, grid, html("div", { class: "emt-seed" }, seedName, slider), status),
      html("div", {}, counted, plane.element, plane.key)),
    ...(model.get("caption") ? [html("p", { class: "emt-caption" }, model.get("caption"))] : [])));
  chooseLayer(layers[0]);
  update();
  return () => {
    model.off("change:cell", followCell);
    model.off("change:seed", followSeed);
  };
}

export default { render };
