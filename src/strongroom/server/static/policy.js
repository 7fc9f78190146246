// The editor of policies: line numbers beside the text, a mark where something is wrong, and the way there.
// Without it the text is checked by a button, and the remarks name their lines.
"use strict";
(() => {
  const box = document.querySelector("[data-editor]"), text = box?.querySelector("textarea");
  if (!text) return;
  const gutter = document.createElement("ol");
  gutter.setAttribute("aria-hidden", "true");
  box.prepend(gutter);
  const remarks = () => [...document.querySelectorAll("#remarks [data-line]")];
  const draw = () => {
    const kinds = {};
    for (const one of remarks()) if (kinds[one.dataset.line] !== "error") kinds[one.dataset.line] = one.dataset.kind;
    const count = text.value.split("\n").length;
    while (gutter.children.length < count) gutter.append(document.createElement("li"));
    while (gutter.children.length > count) gutter.lastChild.remove();
    [...gutter.children].forEach((li, at) => { li.className = kinds[at + 1] || ""; });
    const wrong = Object.values(kinds).includes("error");
    if (wrong) text.setAttribute("aria-invalid", "true"); else text.removeAttribute("aria-invalid");
    gutter.scrollTop = text.scrollTop;
  };
  const go = (line, column) => {
    const lines = text.value.split("\n"), before = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    const at = before + Math.min(column - 1, (lines[line - 1] || "").length);
    text.focus();
    text.setSelectionRange(at, at);
    text.scrollTop = Math.max(0, (line - 4) * parseFloat(getComputedStyle(text).lineHeight));
  };
  document.addEventListener("click", (e) => {
    const to = e.target.closest?.("#remarks [data-line]");
    if (to) { e.preventDefault(); go(+to.dataset.line, +to.dataset.column); }
  });
  text.addEventListener("input", draw);
  text.addEventListener("scroll", () => { gutter.scrollTop = text.scrollTop; });
  document.addEventListener("htmx:afterSettle", draw);
  draw();
})();
