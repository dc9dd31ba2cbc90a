// Predict, then reveal: the reader commits to an answer, a choice or a number; only then the page tells the run's own.

// Plain text with *emphasis*, **strong emphasis** and `code`.
export function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|\*[^*]+\*|`[^`]+`)/).map((part, i) => {
    if (i % 2 === 0) return part;
    const [mark, tag] = part.startsWith("**") ? [2, "strong"] : part.startsWith("*") ? [1, "em"] : [1, "code"];
    return html(tag, {}, part.slice(mark, -mark));
  });
}

let asked = 0; // groups of radio buttons need names of their own

// A radio button for each choice. The guess is its number, -1 none.
function choiceOf(choices, answer, onChange) {
  const group = `emt-guess-${Date.now()}-${asked++}`;
  const radios = choices.map((_, i) => html("input", { type: "radio", name: group, value: i }));
  radios.forEach((radio, i) => radio.addEventListener("change", () => onChange(i)));
  const signs = choices.map(() => html("span", { class: "emt-sign" }));
  const rows = choices.map((text, i) => html("label", {}, radios[i], html("span", {}, ...inline(text)), signs[i]));
  function show(guess, revealed) {
    radios.forEach((radio, i) => {
      radio.checked = i === guess;
      radio.disabled = revealed;
      rows[i].classList.toggle("emt-right", revealed && i === answer);
      const sign = i === answer ? (i === guess ? "✓ your guess, and the answer" : "✓ the answer") : "✗ your guess";
      signs[i].textContent = revealed && (i === answer || i === guess) ? sign : "";
    });
  }
  const verdict = (guess) => guess === answer
    ? ["You are right: ", ...inline(choices[answer]), "."]
    : ["You guessed “", ...inline(choices[guess]), "”. The answer is “", ...inline(choices[answer]), "”."];
  const told = (guess) => (guess < 0 ? [] : ["Your guess: ", ...inline(choices[guess]), ". "]);
  const element = html("div", { class: "emt-choices" }, ...rows);
  return { element, show, told, verdict, given: (guess) => choices[guess] !== undefined };
}

// A slider, and after the commitment a mark of the answer beneath it. The guess is a number.
function numberOf({ low, high, step, answer, unit }, onChange) {
  const scale = unit === "%" ? 100 : 1;
  const digits = Math.max(0, -Math.floor(Math.log10(step * scale * 1.001)));
  const words = (value, more = 0) => `${(value * scale).toFixed(digits + more).replace("-", "−")}${unit && ` ${unit}`}`;
  const guessing = slider("Your guess", low, high, step, onChange);
  const range = guessing.element.querySelector("input");
  const place = (value) => `${100 * clamp((value - low) / (high - low), 0, 1)}%`;
  const marks = html("div", { class: "emt-marks", "aria-hidden": "true" });
  function show(guess, revealed) {
    guessing.show(guess, words(guess));
    range.disabled = revealed;
    marks.replaceChildren(...(revealed ? [[guess, "you", ""], [answer, "the run", "emt-right"]] : []).map(
      ([value, text, kind]) => {
        const leftwards = value > (low + high) / 2; // so that no text leaves the page
        const mark = html("span", { class: leftwards ? `${kind} emt-leftwards` : kind });
        mark.style.left = place(value);
        mark.textContent = leftwards ? `${text} ▲` : `▲ ${text}`;
        return mark;
      }));
  }
  function verdict(guess) {
    const off = Math.abs(guess - answer);
    const apart = unit === "%" ? words(off, 1).replace("%", "percentage points") : words(off, 1);
    const near = off <= step / 2 ? "as near as the slider goes" : `${apart} too ${guess > answer ? "high" : "low"}`;
    return [`You guessed ${words(guess)}; the run gives ${words(answer, 1)}: ${near}.`];
  }
  const line = html("div", { class: "emt-scale" }, words(low), html("span", {}, words(high)));
  const told = (guess) => [`Your guess: ${words(guess)}. `];
  return { element: html("div", {}, guessing.element, marks, line), show, told, verdict, given: () => true };
}

function render({ model, el }) {
  const [question, choices, answer, because] =
    ["question", "choices", "answer", "because"].map((name) => model.get(name));
  const [low, high, step, unit] = ["low", "high", "step", "unit"].map((name) => model.get(name));
  const first = choices.length ? -1 : low + step * Math.round((high - low) / step / 2);
  const ask = choices.length
    ? choiceOf(choices, answer, (guess) => put({ guess }))
    : numberOf({ low, high, step, unit, answer }, (guess) => put({ guess }));
  const status = statusLine();
  const reveal = button("Reveal", () => {
    if (!ask.given(model.get("guess"))) return (status.textContent = "Choose an answer first.");
    put({ revealed: true });
    again.focus(); // its place is taken by the other button
  });
  const again = button("Ask again", () => {
    put({ guess: first, revealed: false });
    reveal.focus();
  });
  const { put, release } = shared(model, ["guess", "revealed"], redraw);

  function redraw() {
    const [guess, revealed] = [model.get("guess"), model.get("revealed") && ask.given(model.get("guess"))];
    ask.show(guess, revealed);
    reveal.hidden = revealed;
    again.hidden = !revealed;
    status.replaceChildren(...(revealed ? [...ask.verdict(guess), " ", ...inline(because)] : [...ask.told(guess), "Predict, then reveal."]));
  }

  el.append(html("fieldset", { class: "emt-explorer emt-predict" },
    html("legend", {}, ...inline(question)), ask.element,
    html("div", { class: "emt-buttons" }, reveal, again), status));
  redraw();
  return release;
}

export default { render };
