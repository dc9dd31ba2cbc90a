// Sliders, menus and rows of tokens, put between common.js and the explorers that share them.

const clamp = (value, low, high) => Math.min(Math.max(value, low), high); // what a kernel sets may lie outside
const note = (kind, ...words) => html("p", { class: `emt-${kind}` }, ...words);
const captionOf = (model) => (model.get("caption") ? [note("caption", model.get("caption"))] : []);
const raised = (digit) => (digit === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
const superscript = (integer) => [...String(integer)].map(raised).join("");

// The explorer's state is the model's. put({ name: value }) changes it and redraws once; a kernel's change redraws too.
function shared(model, names, redraw) {
  let busy = false;
  const follow = () => busy || redraw();
  for (const name of names) model.on(`change:${name}`, follow);
  function put(changes) {
    busy = true;
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    busy = false;
    redraw();
    model.save_changes();
  }
  const release = () => names.forEach((name) => model.off(`change:${name}`, follow));
  return { put, release };
}

// A range input with its name and its value in words before it.
function slider(label, low, high, step, onMove) {
  const words = html("span");
  const range = html("input", { type: "range", min: low, max: high, step, "aria-label": label });
  range.addEventListener("input", () => onMove(Number(range.value)));
  function show(value, text, last = high) {
    range.max = last;
    range.value = value;
    range.setAttribute("aria-valuetext", text);
    words.textContent = `${label}: ${text}`;
  }
  return { element: html("div", { class: "emt-slide" }, words, range), show };
}

function menu(label, names, onChoose) {
  const options = names.map((name, i) => html("option", { value: i }, name));
  const element = html("select", { "aria-label": label }, ...options);
  element.addEventListener("change", () => onChoose(Number(element.value)));
  return element;
}
const labelled = (text, control) => html("label", { class: "emt-range" }, html("span", {}, text), control);

// A menu for each position, its number above it.
function tokenMenus(label, names, onChange) {
  const element = html("div", { class: "emt-tokens", role: "group", "aria-label": label });
  let menus = [];
  function show(tokens, now) {
    if (menus.length !== tokens.length) {
      menus = tokens.map((_, p) => menu(`Token at position ${p}`, names, (token) => onChange(p, token)));
      element.replaceChildren(...menus.map((one, p) => html("div", {}, html("span", { class: "emt-row" }, p), one)));
    }
    menus.forEach((one, p) => {
      one.value = tokens[p];
      one.classList.toggle("emt-now", p === now);
    });
  }
  return { element, show };
}

// Tokens beside those asked for, where any are. A wrong one is red, and has a cross and a heavy edge.
function tokenRow(label, names) {
  const element = html("div", { class: "emt-tokens", role: "img" });
  function show(tokens, now, asked = null) {
    const wrong = (p) => asked !== null && tokens[p] !== asked[p];
    const words = tokens.map((token, p) => names[token] + (wrong(p) ? ` (wrong, not ${names[asked[p]]})` : ""));
    element.setAttribute("aria-label", `${label}: ${words.join(", ")}`);
    element.replaceChildren(...tokens.map((token, p) => {
      const kind = `emt-token${wrong(p) ? " emt-wrong" : ""}${p === now ? " emt-now" : ""}`;
      const sign = asked ? [html("span", {}, wrong(p) ? "✗" : "✓")] : [];
      return html("span", { class: kind }, html("b", {}, names[token]), ...sign);
    }));
  }
  return { element, show };
}
