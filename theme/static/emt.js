// Small repairs to what the theme renders, for people who use a keyboard or a screen reader, or a phone.
(function () {
  "use strict";

  function each(selector, repair) {
    document.querySelectorAll(selector).forEach(repair);
  }

  function repairTheme() {
    // the button and the summary say in words what they do; a label that says otherwise hides that
    each(".search-button-field, details.hide > summary", (e) => e.removeAttribute("aria-label"));
    each("nav summary:has(.toctree-toggle)", (e) => {
      e.setAttribute("aria-label", `Pages of ${e.closest("li").querySelector("a").textContent.trim()}`);
    });
    each(".bd-sidebar-primary", (e) => {
      e.setAttribute("role", "region");
      e.setAttribute("aria-label", "Book");
    });
    // docutils' roles for references are deprecated, and not allowed in such a list
    each(".citation-list, .citation", (e) => e.removeAttribute("role"));
    each("article table", (table) => {
      if (table.closest(".pst-scrollable-table-container, .emt-explorer, .jupyter-widgets")) return;
      const wrapper = document.createElement("div");
      wrapper.className = "pst-scrollable-table-container";
      table.replaceWith(wrapper);
      wrapper.append(table);
    });
  }

  // A table that is too wide is laid out row by row, each cell under its column's name. Here as below everything is
  // measured before anything is changed, so that the browser lays the page out once.
  function stackTables() {
    const tables = [...document.querySelectorAll("article table")].filter((table) => !table.closest(".emt-explorer"));
    tables.forEach((table) => table.classList.remove("emt-stacked"));
    const wide = tables.filter((table) => table.offsetWidth > table.parentElement.clientWidth + 1);
    for (const table of wide) {
      const names = [...(table.tHead?.rows[0]?.cells ?? [])].map((cell) => cell.textContent.trim());
      for (const body of table.tBodies)
        for (const row of body.rows)
          [...row.cells].forEach((cell, i) => (cell.dataset.label = i ? (names[i] ?? "") : ""));
      table.dataset.rows = names[0] ?? ""; // what the rows are, and often what all cells are: said once, above them
      table.classList.add("emt-stacked");
    }
  }

  // An equation that cannot break gives way to its narrow layout, if it has one, or is made smaller, down to a size that
  // can still be read.
  const SMALLEST = 10; // pixels
  function fitEquations(equations) {
    for (const equation of equations) {
      equation.style.fontSize = "";
      equation.classList.remove("emt-wide-hidden");
    }
    const tight = equations
      .map((equation) => {
        const parts = [...equation.querySelectorAll(".katex-base")].map((part) => part.offsetWidth);
        return { equation, room: equation.parentElement.clientWidth, widest: Math.max(...parts) };
      })
      .filter(({ room, widest }) => room && widest > room)
      .map((it) => ({ ...it, size: parseFloat(getComputedStyle(it.equation).fontSize) }));
    const narrow = [];
    for (const { equation, room, widest, size } of tight) {
      const other = equation.nextElementSibling;
      if (other?.matches(".emt-narrow")) {
        equation.classList.add("emt-wide-hidden");
        narrow.push(other);
      } else equation.style.fontSize = `${Math.max(SMALLEST / 1.1, (size * room) / widest - 0.05)}px`;
    }
    if (narrow.length) fitEquations(narrow);
  }

  // What scrolls inside itself must be reachable by keyboard; only what really overflows becomes a tab stop.
  function markScrollers() {
    const boxes = [...document.querySelectorAll("article pre, article .output, .pst-scrollable-table-container, .bd-sidebar-secondary")];
    const scrolling = boxes.map((e) => e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1);
    boxes.forEach((e, i) => {
      if (scrolling[i]) e.setAttribute("tabindex", "0");
      else if (e.getAttribute("tabindex") === "0") e.removeAttribute("tabindex");
    });
  }

  function fit() {
    stackTables();
    fitEquations([...document.querySelectorAll(".emt-equation:not(.emt-narrow)")]);
    markScrollers();
  }

  document.addEventListener("DOMContentLoaded", () => {
    repairTheme();
    fit();
    const article = document.querySelector("article");
    if (!article) return; // the search page
    document.fonts.ready.then(fit);
    let width = article.clientWidth;
    new ResizeObserver(() => {
      if (article.clientWidth !== width) fit();
      else markScrollers(); // an explorer was drawn, or a fold opened
      width = article.clientWidth;
    }).observe(article);
  });
})();
