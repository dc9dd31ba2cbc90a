// The search page: each place once, and excerpts of the text alone, without toolbars and doubled formulas.
(function () {
  "use strict";
  Search.htmlToText = (source, anchor) => {
    const page = new DOMParser().parseFromString(source, "text/html");
    const article = page.querySelector("article");
    const whole = (anchor && article?.querySelector(`#${CSS.escape(anchor.slice(1))}`)) || article;
    if (!whole) return "";
    whole
      .querySelectorAll(".headerlink, script, style, noscript, button, .katex-html, annotation, .emt-narrow, .eqno, .emt-cite")
      .forEach((e) => e.remove());
    whole.querySelectorAll("td, th, li, dt, dd, p, pre").forEach((e) => e.append(" ")); // else words run together
    return whole.textContent.replace(/\s+/g, " ");
  };

  // A page that is found by a title of its own, or of a section, is not listed again for the words in it. The last results
  // are shown first.
  const find = Search._performSearch;
  Search._performSearch = (...query) => {
    const seen = new Set();
    const kept = find(...query)
      .reverse()
      .filter(([page, title, anchor, descr]) => {
        const names = [`${page}${anchor}`, `${page} ${title} ${descr ?? ""}`];
        const again = names.some((name) => seen.has(name)) || (!anchor && descr === null && seen.has(page));
        [...names, page].forEach((name) => seen.add(name));
        return !again;
      });
    // Readers look for ideas first: the reference comes last, but for a name of it that no idea has.
    const asked = query[0].trim().toLowerCase();
    const named = (title) => asked.includes("_") && title.toLowerCase().split(".").pop() === asked;
    const reference = ([page, title]) => page.startsWith("book/api/") && !named(title);
    return [...kept.filter((r) => !reference(r)), ...kept.filter(reference)].reverse();
  };
})();
