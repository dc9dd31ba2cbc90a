// Helpers of every explorer. The Python side puts this text in front of each module, since a widget is one module.

const SVG = "http://www.w3.org/2000/svg";

function append(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const html = (tag, attributes = {}, ...children) => append(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => append(document.createElementNS(SVG, tag), attributes, children);

function button(text, onClick, attributes = {}) {
  const element = html("button", { type: "button", ...attributes }, text);
  element.addEventListener("click", onClick);
  return element;
}

// Little-endian float32 as base64: a string survives every way of saving a widget, in a notebook and in a static page.
function floats(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

function statusLine() {
  return html("p", { class: "emt-status", role: "status", "aria-live": "polite" });
}

// A button in the prose, <button class="emt-set" name="travel" value="step=12&edits=[[9,2,1]]">, sets what the explorer of
// that name may be told: values are JSON, or else text. `translate` gives other keys: { key: (value) => ({ trait: value }) }.
function heed(model, el, movable, translate = {}) {
  const parsed = (text) => {
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  };
  const kind = (value) => (Array.isArray(value) ? "list" : typeof value);
  function listen(event) {
    const pressed = event.target.closest?.("button.emt-set");
    if (!pressed || !pressed.name || pressed.name !== model.get("name")) return;
    for (const [key, text] of new URLSearchParams(pressed.value)) {
      const wanted = translate[key]?.(parsed(text)) ?? { [key]: parsed(text) };
      for (const [trait, value] of Object.entries(wanted)) {
        if (movable.includes(trait) && kind(value) === kind(model.get(trait))) model.set(trait, value);
        else console.error(`explorer ${pressed.name}: got ${key}=${text}, expected one of ${movable.join(", ")}`);
      }
    }
    model.save_changes();
    el.scrollIntoView({ block: "nearest" });
  }
  document.addEventListener("click", listen);
  return () => document.removeEventListener("click", listen);
}

// Back, play, forward and a slider from 0 to last. Nothing ever starts by itself: only a press of "Play" does.
function timeline({ label, last, start, period, status, describe, onMove }) {
  let timer = null;
  const range = html("input", { type: "range", min: 0, max: last, step: 1, value: start });
  const play = button("Play", () => (timer === null ? run() : stop()), { class: "emt-play" });
  const back = button("◀", () => jump(-1), { "aria-label": "One step back" });
  const forward = button("▶", () => jump(1), { "aria-label": "One step forward" });

  function show(position) {
    range.value = position;
    onMove(Number(range.value));
    range.setAttribute("aria-valuetext", describe(Number(range.value)));
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    status.setAttribute("aria-live", "polite");
  }
  function run() {
    if (Number(range.value) === last) show(0);
    play.textContent = "Pause";
    status.setAttribute("aria-live", "off"); // a screen reader should not read out every picture of a film
    timer = setInterval(() => {
      if (!range.isConnected || Number(range.value) === last) stop();
      else show(Number(range.value) + 1);
    }, period);
  }
  function jump(by) {
    stop();
    show(Number(range.value) + by);
  }
  range.addEventListener("input", () => {
    stop();
    show(range.value);
  });
  const element = html("div", { class: "emt-timeline" }, back, play, forward,
    html("label", { class: "emt-range" }, html("span", {}, label), range));
  return { element, show, stop, position: () => Number(range.value) };
}

// One tab stop for a whole grid of buttons: Tab enters and leaves it, arrows, Home and End move within.
function roving(cells, columns, start = 0) {
  const focusable = (chosen) => cells.forEach((cell, i) => (cell.tabIndex = i === chosen ? 0 : -1));
  cells.forEach((cell, i) => {
    cell.addEventListener("focus", () => focusable(i));
    cell.addEventListener("keydown", (event) => {
      const rowStart = i - (i % columns);
      const to = {
        ArrowLeft: Math.max(i - 1, rowStart),
        ArrowRight: Math.min(i + 1, rowStart + columns - 1),
        ArrowUp: i - columns,
        ArrowDown: i + columns,
        Home: rowStart,
        End: rowStart + columns - 1,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      cells[to]?.focus();
    });
  });
  focusable(start);
}
