// Small repairs to what the theme and the widget manager render, for people who use a keyboard or a screen reader.
(function () {
  "use strict";

  function each(selector, repair) {
    document.querySelectorAll(selector).forEach(repair);
  }

  function repairTheme() {
    // the button and the summary say in words what they do; a label that says otherwise hides that
    each(".search-button-field, details.hide > summary", (e) => e.removeAttribute("aria-label"));
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

  // What scrolls inside itself must be reachable by keyboard; only what really overflows becomes a tab stop.
  function markScrollers() {
    each("article pre, article .output, div.math, .pst-scrollable-table-container, .widget-box, .bd-sidebar-secondary", (e) => {
      const scrolls = e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1;
      if (scrolls) e.setAttribute("tabindex", "0");
      else if (e.getAttribute("tabindex") === "0") e.removeAttribute("tabindex");
    });
  }

  // ipywidgets gives a slider's handle no name; its description stands beside it
  function nameSliders() {
    each(".noUi-handle:not([aria-label])", (e) => {
      const label = e.closest(".widget-inline-hbox")?.querySelector(".widget-label");
      e.setAttribute("aria-label", label?.textContent || "slider");
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    repairTheme();
    markScrollers();
    const article = document.querySelector("article");
    if (!article) return; // the search page
    // formulas, widgets and fonts arrive, and change widths, after the page has loaded
    new ResizeObserver(markScrollers).observe(article);
    new MutationObserver(() => {
      nameSliders();
      markScrollers();
    }).observe(article, { childList: true, subtree: true });
  });
})();
