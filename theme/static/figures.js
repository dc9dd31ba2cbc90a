// On a narrow screen a tap on a figure opens it as large as the screen allows, to be moved and pinched; a tap or Esc closes.
(function () {
  "use strict";
  const narrow = matchMedia("(max-width: 600px)");

  function enlarge(picture) {
    const dialog = document.createElement("dialog");
    dialog.className = "emt-large";
    dialog.setAttribute("aria-label", picture.alt || "Figure");
    const close = Object.assign(document.createElement("button"), { type: "button", textContent: "Close" });
    const frame = document.createElement("div");
    const copy = picture.cloneNode();
    // at its own size at least, so that small print can be read: the frame scrolls
    copy.style.width = `${Math.max(picture.naturalWidth, 2 * picture.clientWidth)}px`;
    frame.append(copy);
    frame.tabIndex = 0;
    dialog.append(close, frame);
    close.addEventListener("click", () => dialog.close());
    copy.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    document.querySelector("article").append(dialog);
    dialog.showModal();
  }

  // a button around the picture, only where it does something
  function prepare() {
    document.querySelectorAll("article .cell_output img, article figure img").forEach((picture) => {
      const framed = picture.parentElement.matches(".emt-enlarge");
      if (narrow.matches && !framed) {
        const button = Object.assign(document.createElement("button"), { type: "button", className: "emt-enlarge" });
        picture.replaceWith(button);
        button.append(picture);
        button.addEventListener("click", () => enlarge(picture));
      } else if (!narrow.matches && framed) picture.parentElement.replaceWith(picture);
    });
  }

  document.addEventListener("DOMContentLoaded", prepare);
  narrow.addEventListener("change", prepare);
})();
