// The drawer beside a list of who may: its line is marked, and closing it asks for the list's own words.
"use strict";
(() => {
  const place = document.getElementById("drawer-place");
  if (!place) return;
  const path = (a) => new URL(a.href).pathname;
  const draw = () => {
    place.parentElement.classList.toggle("split", Boolean(place.firstElementChild));
    document.querySelectorAll("#lines tbody tr").forEach((r) => {
      const a = r.querySelector("a.nm"), is = Boolean(a && place.firstElementChild && path(a) === location.pathname);
      r.toggleAttribute("data-open", is);
      r.classList.toggle("on", is);
    });
    const close = place.querySelector("[data-close]:not([hx-get])");
    if (!close) return;
    for (const [name, value] of [["hx-get", close.href], ["hx-target", "#drawer-place"], ["hx-push-url", "true"]]) close.setAttribute(name, value);
    window.htmx?.process(close);
  };
  document.addEventListener("htmx:afterSettle", (e) => { if (e.detail.target === place || e.detail.target?.id === "lines") draw(); });
  document.addEventListener("htmx:pushedIntoHistory", draw);
  addEventListener("DOMContentLoaded", draw);
})();
