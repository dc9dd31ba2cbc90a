// Shows, over a link to an equation, figure, claim, word or reference, what it leads to, and over a symbol in the text its
// row of the notation. What is on another page is fetched, which a browser allows no page that was opened from a plain
// folder: there, and under a finger, links are just links.
(function () {
  "use strict";
  const DELAY = 250; // milliseconds: a pointer that only passes opens nothing
  const WANTED = ".emt-equation, figure, tr[id], dt, .proof, .exercise, .citation, .footnote, aside.footnote, div.math";
  const pages = new Map(); // by address: a promise of the document
  let card, link, timer, pending; // pending: the link whose card is still to open

  function page(address) {
    const here = location.href.split("#")[0];
    if (address === here) return Promise.resolve(document);
    if (!address.startsWith("http")) return Promise.reject(new Error("no server"));
    if (!pages.has(address))
      pages.set(
        address,
        fetch(address)
          .then((answer) => (answer.ok ? answer.text() : Promise.reject(new Error(answer.statusText))))
          .then((text) => new DOMParser().parseFromString(text, "text/html")),
      );
    return pages.get(address);
  }

  // What an anchor stands for: the thing itself, not the chapter or section that it may begin.
  function thing(source, id) {
    const target = source.getElementById(id);
    if (!target || target.matches("section, article, main, h1, h2, h3, h4")) return null;
    const around = target.closest("tr, dt, figure, .citation, .footnote");
    const whole = target.matches(WANTED) ? target : (around ?? target.querySelector(WANTED));
    if (!whole) return null;
    if (whole.matches("dl.glossary > dt, dl.simple > dt")) {
      const entry = whole.parentElement.cloneNode(false); // a word and what it means
      entry.append(whole.cloneNode(true), whole.nextElementSibling.cloneNode(true));
      return entry;
    }
    if (!whole.matches("tr")) return whole.cloneNode(true);
    const table = whole.closest("table").cloneNode(false); // a row keeps its columns' names
    table.classList.remove("emt-stacked");
    const body = document.createElement("tbody");
    body.append(whole.cloneNode(true));
    const head = whole.closest("table").tHead;
    if (head) table.append(head.cloneNode(true));
    table.append(body);
    return table;
  }

  function cleaned(copy, address) {
    copy.querySelectorAll(".headerlink, .backrefs, .fn-backref, script, button").forEach((e) => e.remove());
    for (const e of [copy, ...copy.querySelectorAll("[id]")]) e.removeAttribute("id");
    // addresses in what comes from another page are meant from there; nothing within a preview can be tabbed to
    copy.querySelectorAll("[src]").forEach((e) => (e.src = new URL(e.getAttribute("src"), address).href));
    copy.querySelectorAll("a").forEach((e) => e.replaceWith(...e.childNodes));
    copy.querySelectorAll("[tabindex]").forEach((e) => e.removeAttribute("tabindex"));
    copy.querySelectorAll("img").forEach((e) => e.setAttribute("loading", "eager"));
    return copy;
  }

  function place() {
    const at = link.getClientRects()[0] ?? link.getBoundingClientRect();
    const { width, height } = card.getBoundingClientRect();
    const edge = document.documentElement.clientWidth - width - 8;
    const above = at.top - height - 6;
    card.style.left = `${Math.max(8, Math.min(at.left, edge))}px`;
    card.style.top = `${at.bottom + height + 6 <= innerHeight || above < 8 ? at.bottom + 6 : above}px`;
  }

  // The row of the notation that has this symbol, as it is written there.
  const NOTATION = new URL(`${document.documentElement.dataset.content_root ?? "./"}book/notation.html`, location.href).href;
  const written = (math) => math.querySelector("annotation")?.textContent.replace(/\s+/g, "");
  function symbol(source, math) {
    const rows = [...source.querySelectorAll("table.notation [id^='symbol-']")];
    const has = (row) => [...row.querySelectorAll(".katex")].some((one) => written(one) === written(math));
    const row = rows.find(has);
    return row ? thing(source, row.id) : null;
  }

  async function open(from) {
    link = from;
    let address, found;
    try {
      if (from.matches(".katex")) {
        address = NOTATION;
        found = symbol(await page(address), from);
      } else {
        const parts = from.href.split("#");
        address = parts[0];
        found = thing(await page(address), decodeURIComponent(parts[1]));
      }
    } catch {
      return; // the link still works
    }
    if (!found || link !== from) return;
    close();
    link = from;
    card = Object.assign(document.createElement("div"), { className: "emt-preview", id: "emt-preview" });
    card.setAttribute("role", "tooltip");
    card.append(cleaned(found, address));
    card.addEventListener("pointerenter", () => clearTimeout(timer));
    card.addEventListener("pointerleave", close);
    document.querySelector("article").append(card); // where the styles of equations and tables hold
    link.setAttribute("aria-describedby", "emt-preview");
    place();
  }

  function close() {
    clearTimeout(timer);
    card?.remove();
    link?.removeAttribute("aria-describedby");
    card = link = pending = undefined;
  }

  function linkOf(event) {
    const target = event.target;
    const found =
      target.closest?.("article a[href*='#']:not(.headerlink, .fn-backref)") ??
      target.closest?.("article :is(p, li, dd, figcaption) .katex:not(.katex-display .katex)");
    return found && !found.closest(".emt-preview, .emt-explorer") ? found : null;
  }

  function soon(event) {
    const found = linkOf(event);
    if (!found || found === link || event.pointerType === "touch") return;
    wait(found);
  }
  function wait(found) {
    close();
    pending = found;
    timer = setTimeout(open, DELAY, found);
  }
  // The keyboard may scroll to what it stands on: then the card waits until the page is still.
  function scrolled() {
    if (pending && pending === document.activeElement) wait(pending);
    else close();
  }
  function later(event) {
    if (!linkOf(event)) return;
    clearTimeout(timer);
    timer = setTimeout(close, DELAY); // time to move onto the card
  }

  document.addEventListener("pointerover", soon);
  document.addEventListener("pointerout", later);
  document.addEventListener("focusin", (event) => event.target.matches?.(":focus-visible") && soon(event));
  document.addEventListener("focusout", later);
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
  addEventListener("scroll", scrolled, { passive: true });
})();
