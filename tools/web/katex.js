// Typesets for tools/equations.py: reads a JSON [TeX, whether it stands alone] a line, answers a JSON {html} or {error}.
"use strict";
const katex = require(process.argv[2]);
const options = { output: "htmlAndMathml", throwOnError: true, strict: "ignore", trust: false };

require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [tex, displayMode] = JSON.parse(line);
    let answer;
    try {
      answer = { html: katex.renderToString(tex, { ...options, displayMode }) };
    } catch (error) {
      answer = { error: error.message };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  });
