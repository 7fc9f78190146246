// Copying what is sealed without showing it: fetched by POST once its reason was given, straight to the clipboard,
// and taken off it after thirty seconds. Without this script it can be revealed.
"use strict";
(() => {
  const SECONDS = 30;
  let ends = 0, waiting = null;
  const clear = () => {
    if (!ends || Date.now() < ends) return;
    if (!document.hasFocus()) return void addEventListener("focus", clear, { once: true });
    ends = 0;
    navigator.clipboard.writeText("").catch(() => {});
  };
  // what the reader copies himself meanwhile is his own
  document.addEventListener("copy", () => { ends = 0; });

  const fetched = async (form, slot) => {
    const answer = await fetch(form.action, {
      method: "POST", credentials: "same-origin", redirect: "error", cache: "no-store",
      headers: { "Accept": "text/plain", "HX-Request": "true", "HX-Target": slot, "HX-Current-URL": location.href },
      body: new URLSearchParams(new FormData(form)),
    });
    const text = await answer.text();
    if (answer.ok && answer.headers.get("content-type")?.startsWith("text/plain")) return new Blob([text], { type: "text/plain" });
    const to = answer.headers.get("HX-Retarget") || `#${slot}`;
    const there = answer.headers.get("HX-Redirect");
    if (answer.headers.get("X-Proof")) waiting = form;
    if (there) location.assign(there); else htmx.swap(to, text, { swapStyle: "innerHTML" });
    throw new Error("not given");
  };
  const copy = async (form) => {
    const slot = form.dataset.sealedCopy, box = document.getElementById(slot);
    const done = form.querySelector("[data-sealed-done]"), again = form.querySelector("[data-sealed-again]");
    const put = (template) => { box.replaceChildren(template.content.cloneNode(true)); htmx.process(box); };
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      await navigator.clipboard.write([new ClipboardItem({ "text/plain": fetched(form, slot) })]);
    } catch { button.disabled = false; return; }
    put(done);
    ends = Date.now() + SECONDS * 1000 - 50;
    setTimeout(() => { if (box.isConnected && !box.querySelector("form")) put(again); clear(); }, SECONDS * 1000);
  };
  addEventListener("submit", (e) => {
    const form = e.target;
    if (!form.dataset?.sealedCopy) return;
    e.preventDefault();
    if (navigator.clipboard?.write && window.ClipboardItem) return void copy(form);
    form.querySelector("[data-sealed-no]").hidden = false; // nothing was asked for
  });
  document.addEventListener("sr:proven", () => {
    const form = waiting;
    waiting = null;
    if (form?.isConnected) copy(form);
  });

  // an entry that changed says so and waits to be asked: somebody may be typing into it
  document.body.addEventListener("sr:changed", (e) => {
    const it = document.querySelector("[data-entry]"), d = it?.dataset;
    const is = (c) => c.kind === d.kind && c.name === d.name && (c.team || "") === d.team && c.version !== d.version;
    if (it && e.detail?.changes?.some(is)) it.hidden = false;
  });
})();
