// New records are let in by themselves while nobody points at the list, looks further down, or has one in focus.
"use strict";
document.addEventListener("htmx:afterSwap", () => {
  const more = document.querySelector("[data-let-in]");
  const list = document.querySelector("#lines .log");
  if (!more || scrollY > 40 || list?.matches(":hover, :focus-within") || String(getSelection())) return;
  more.click();
});
