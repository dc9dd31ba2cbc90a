// Draws the explorers of a page, each when a reader comes near it. tools/explorers.py writes their places and modules.
(function () {
  "use strict";
  const modules = (window.emtExplorers = {}); // by name: a promise of the module, and what its script calls
  const styles = new Set();
  const folder = document.currentScript.src.replace(/explorers\.js.*$/, "explorers/");

  // A module's text, from a classic script, as a module: this works from a plain folder too.
  function load(name) {
    modules[name] ??= {};
    modules[name].module ??= new Promise((resolve, reject) => {
      modules[name].arrived = ({ module, style }) => {
        if (!styles.has(style)) document.head.append(Object.assign(document.createElement("style"), { textContent: style }));
        styles.add(style);
        const address = URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
        import(address).then(({ default: it }) => resolve(it), reject).finally(() => URL.revokeObjectURL(address));
      };
      document.head.append(Object.assign(document.createElement("script"), { src: `${folder}${name}.js`, onerror: reject }));
    });
    return modules[name].module;
  }

  // What anywidget's modules expect of a model, with no kernel behind it.
  function model(state) {
    const listeners = new Map();
    const of = (event) => listeners.get(event) ?? listeners.set(event, new Set()).get(event);
    return {
      get: (name) => state[name],
      set(name, value) {
        if (state[name] === value) return;
        state[name] = value;
        for (const listener of [...of(`change:${name}`), ...of("change")]) listener();
      },
      on: (event, listener) => of(event).add(listener),
      off: (event, listener) => (listener ? of(event).delete(listener) : listeners.delete(event)),
      save_changes() {},
      send() {},
    };
  }

  async function draw(place) {
    const state = JSON.parse(place.querySelector("script").textContent);
    const { render } = await load(place.dataset.explorer);
    const element = document.createElement("div");
    await render({ model: model(state), el: element });
    place.replaceChildren(element);
    place.classList.add("emt-drawn");
  }

  document.addEventListener("DOMContentLoaded", () => {
    const places = document.querySelectorAll(".emt-slot");
    const near = new IntersectionObserver(
      (entries) =>
        entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
          near.unobserve(target);
          draw(target);
        }),
      { rootMargin: "1500px 0px" },
    );
    places.forEach((place) => near.observe(place));
    // on paper there is no scrolling
    addEventListener("beforeprint", () => places.forEach((place) => near.unobserve(place) ?? (place.matches(".emt-drawn") || draw(place))));
  });
})();
