// The drawer beside the list: which line is open, and back to the list without asking for it again.
"use strict";
(() => {
  const place = document.getElementById("drawer-place");
  if (!place) return;
  const list = () => { const u = new URL(location.href); u.searchParams.delete("open"); return u.pathname + u.search; };
  let home = list();
  const mark = (mark) => document.querySelectorAll(".inv-t tbody tr").forEach((r) => {
    const box = r.querySelector("[data-mark]"), is = Boolean(mark) && box?.value === mark;
    r.toggleAttribute("data-open", is);
    r.classList.toggle("on", is || Boolean(box?.checked));
  });
  const shape = () => place.parentElement.classList.toggle("split", Boolean(place.firstElementChild));
  const opened = () => new URL(location.href).searchParams.get("open");
  document.addEventListener("htmx:beforeRequest", (e) => { if (e.detail.target === place && location.pathname.endsWith("/inventory")) home = list(); });
  document.addEventListener("htmx:afterSettle", (e) => {
    const to = e.detail.target;
    if (to && to !== place && to.id !== "lines") return;
    shape();
    mark(place.firstElementChild ? opened() : null);
  });
  document.addEventListener("click", (e) => {
    const close = e.target.closest?.("#drawer-place [data-close]");
    if (!close) return;
    e.preventDefault();
    const line = document.querySelector(".inv-t tr[data-open] a.nm");
    place.replaceChildren();
    shape();
    mark(null);
    history.replaceState({ htmx: true }, "", home);
    line?.focus();
  });
  const open = opened();
  const row = open && [...document.querySelectorAll("[data-mark]")].find((m) => m.value === open)?.closest("tr");
  // once htmx has taken the links over
  if (row && matchMedia("(min-width: 62rem)").matches) addEventListener("DOMContentLoaded", () => row.querySelector("a.nm").click());
})();
