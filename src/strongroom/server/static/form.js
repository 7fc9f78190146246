// The form of an entry: what was not touched is not sent, what is pasted is read, what is wrong is marked.
// Without it every field is sent with what stood in it, and the server tells them apart.
"use strict";
(() => {
  const form = () => document.querySelector("[data-form]");
  const pairs = function* (f) {
    for (const was of f.querySelectorAll('input[name^="w."]')) {
      const now = f.elements["f." + was.name.slice(2)];
      if (now) yield [now, was];
    }
  };
  const same = (a, b) => a.replace(/\r\n/g, "\n") === b.replace(/\r\n/g, "\n");

  document.addEventListener("htmx:configRequest", (e) => {
    const f = form();
    if (!f || !(f.contains(e.detail.elt) || e.detail.elt === f)) return;
    for (const [now, was] of pairs(f)) {
      if (!same(now.value, was.value)) continue;
      e.detail.formData.delete(now.name);
      e.detail.formData.delete(was.name);
    }
    for (const s of f.querySelectorAll('[name^="s."]')) if (!s.value) e.detail.formData.delete(s.name);
    if (e.detail.elt.matches("[data-check]")) e.detail.formData.delete("paste");
  });

  document.addEventListener("paste", (e) => {
    const box = e.target.closest?.("[data-paste]");
    if (box) setTimeout(() => box.form.requestSubmit(box.form.querySelector("[data-paste-read]")), 0);
  });

  document.addEventListener("htmx:afterSettle", () => {
    const f = form();
    if (!f) return;
    for (const said of f.querySelectorAll(".say")) {
      const control = document.getElementById(said.id.slice(4));
      if (!control) continue;
      const bad = said.querySelector(".err");
      if (bad) control.setAttribute("aria-invalid", "true"); else control.removeAttribute("aria-invalid");
      control.classList.toggle("warned", !bad && Boolean(said.querySelector(".note")));
    }
  });
})();
