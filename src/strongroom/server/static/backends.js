// The chain put in order by hand: dragging a number, and Alt with the arrows. Both are the form of the buttons.
"use strict";
(() => {
  const form = () => document.getElementById("order");
  const lines = () => [...document.querySelectorAll("#order li[data-backend]")];
  const send = () => form()?.requestSubmit();
  let dragged = null, before = "";
  const names = () => lines().map((li) => li.dataset.backend).join();
  const ready = () => lines().forEach((li) => { li.querySelector(".dot").draggable = true; });

  document.addEventListener("keydown", (e) => {
    if (!e.altKey || e.ctrlKey || e.metaKey || !["ArrowUp", "ArrowDown"].includes(e.key)) return;
    const li = e.target.closest?.("#order li[data-backend]");
    if (!li) return;
    e.preventDefault();
    const way = e.key === "ArrowUp" ? "up" : "down", button = document.getElementById(`${way}-${li.dataset.backend}`);
    if (!button || button.disabled) return;
    button.focus();
    button.click();
  });
  document.addEventListener("dragstart", (e) => {
    if (!e.target.matches?.("#order .dot")) return;
    dragged = e.target.closest("li"); before = names();
    e.dataTransfer.effectAllowed = "move";
    e.dataTransfer.setData("text/plain", dragged.dataset.backend);
    e.dataTransfer.setDragImage(dragged, 12, 12);
    dragged.classList.add("lifted");
  });
  document.addEventListener("dragover", (e) => {
    const li = dragged && e.target.closest?.("#order li[data-backend]");
    if (!li) return;
    e.preventDefault();
    if (li === dragged) return;
    const box = li.getBoundingClientRect();
    li.parentNode.insertBefore(dragged, e.clientY < box.top + box.height / 2 ? li : li.nextSibling);
  });
  document.addEventListener("drop", (e) => { if (dragged) e.preventDefault(); });
  document.addEventListener("dragend", () => {
    if (!dragged) return;
    dragged.classList.remove("lifted"); dragged = null;
    if (names() !== before) send();
  });
  // a button at the end of its way is disabled: the focus stays on the line, so that the next key moves it on
  document.addEventListener("htmx:afterSettle", () => {
    ready();
    if (document.activeElement === document.body && last) document.querySelector(`li[data-backend="${CSS.escape(last)}"] button:not(:disabled)`)?.focus();
  });
  let last = "";
  document.addEventListener("submit", (e) => { if (e.target.id === "order") last = (e.submitter?.value || "").replace(/:(up|down)$/, ""); });
  ready();
})();
