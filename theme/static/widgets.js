// Runs between require.js and the widget manager, on pages with widgets. Paths are taken from this very script, so that they
// hold from any page depth, and from a plain folder too.
(function () {
  const vendor = document.currentScript.src.replace(/widgets\.js.*$/, "vendor");
  requirejs.config({ paths: { anywidget: `${vendor}/anywidget`, "@jupyter-widgets/html-manager/dist": vendor } });
  // The widget manager typesets labels as MathJax 2 did; the book carries MathJax 3.
  window.addEventListener("load", () => {
    if (window.MathJax) window.MathJax.Hub ??= { Queue: ([, , element]) => MathJax.typesetPromise?.([element]) };
  });
})();
