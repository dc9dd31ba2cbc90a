// The complex plane, put between common.js and the explorers that show eigenvalues: dots over the theory's rings.

// values: one picture after the other, `count` × (real, imaginary) each, all on one scale; NaN is no dot.
// theory: [[real, imaginary, multiplicity], ...].
function complexPlane({ values, count, theory, threshold }) {
  const size = 400;
  const reach = Math.max(1.3, 1.05 * values.reduce((most, x) => Math.max(most, Math.abs(x) || 0), 0));
  const scale = size / 2 / reach;
  const x = (re) => size / 2 + scale * re;
  const y = (im) => size / 2 - scale * im;
  const expected = theory.reduce((sum, [re, im, n]) => sum + (Math.hypot(re, im) > threshold ? n : 0), 0);

  const element = svg("svg", { viewBox: `0 0 ${size} ${size}`, class: "emt-plane", role: "img" });
  element.append(
    svg("path", { d: `M0 ${y(0)}H${size}M${x(0)} 0V${size}`, class: "emt-axis" }),
    svg("circle", { cx: x(0), cy: y(0), r: scale, class: "emt-unit" }),
    svg("circle", { cx: x(0), cy: y(0), r: scale * threshold, class: "emt-unit emt-dashed" }),
  );
  for (const [re, im, n] of theory) {
    element.append(svg("circle", { cx: x(re), cy: y(im), r: 8, class: "emt-ring" }));
    const modulus = Math.hypot(re, im);
    if (n < 2 || modulus <= threshold) continue;
    const away = 1 + 26 / (scale * modulus);
    element.append(svg("text", { x: x(re * away), y: y(im * away) + 5, class: "emt-text" }, `×${n}`));
  }
  const dots = Array.from({ length: count }, () => element.appendChild(svg("circle", { r: 4, class: "emt-dot" })));

  const key = html("p", { class: "emt-key" });
  for (const [mark, text] of [["emt-dot", "learned"], ["emt-ring", "theory (×: multiplicity)"]]) {
    const picture = svg("svg", { viewBox: "0 0 18 18", "aria-hidden": "true" });
    picture.append(svg("circle", { cx: 9, cy: 9, r: mark === "emt-dot" ? 5 : 7, class: mark }));
    key.append(html("span", {}, picture, text));
  }
  key.append(html("span", {}, `dashed: radius ${threshold.toFixed(2)}`));

  const at = (which, i) => values.subarray(2 * (which * count + i), 2 * (which * count + i) + 2);
  const outside = (which) => dots.filter((_, i) => Math.hypot(...at(which, i)) > threshold).length;
  function describe(which) {
    const noun = outside(which) === 1 ? "eigenvalue" : "eigenvalues";
    return `${outside(which)} ${noun} outside radius ${threshold.toFixed(2)}, theory ${expected}`;
  }
  function show(which, label) {
    dots.forEach((dot, i) => {
      const [re, im] = at(which, i);
      const missing = Number.isNaN(re);
      dot.style.visibility = missing ? "hidden" : "visible";
      if (!missing) dot.style.transform = `translate(${x(re)}px, ${y(im)}px)`;
    });
    element.setAttribute("aria-label", label);
  }
  return { element, key, expected, outside, describe, show };
}
