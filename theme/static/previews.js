// Shows, over a link to an equation, figure, claim, symbol or reference, what it leads to. On another page it is fetched,
// which a browser allows no page that was opened from a plain folder: there, and under a finger, links are just links.
(function () {
  "use strict";
  const DELAY = 250; // milliseconds: a pointer that only passes opens nothing
  const WANTED = ".emt-equation, figure, tr[id], dt, .proof, .exercise, .citation, .footnote, aside.footnote, div.math";
  const pages = new Map(); // by address: a promise of the document
  let card, link, timer;

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
    const whole = target.matches(WANTED) ? target : (target.closest("tr, figure, .citation, .footnote") ?? target.querySelector(WANTED));
    if (!whole) return null;
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

  async function open(from) {
    link = from;
    const [address, id] = from.href.split("#");
    let found;
    try {
      found = thing(await page(address), decodeURIComponent(id));
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
    card = link = undefined;
  }

  function linkOf(event) {
    const found = event.target.closest?.("article a[href*='#']:not(.headerlink, .fn-backref)");
    return found && !found.closest(".emt-preview") ? found : null;
  }

  function soon(event) {
    const found = linkOf(event);
    if (!found || found === link || event.pointerType === "touch") return;
    close();
    timer = setTimeout(open, DELAY, found);
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
  addEventListener("scroll", close, { passive: true });
})();
