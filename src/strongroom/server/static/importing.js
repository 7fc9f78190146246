// Files dropped on the box are taken as if they had been chosen; how many there are is said.
"use strict";
(() => {
  const box = document.querySelector("[data-drop]");
  if (!box) return;
  const input = box.querySelector("input[type=file]"), said = box.querySelector("[data-drop-said]");
  const tell = () => {
    const names = [...input.files].map((f) => f.name);
    said.textContent = names.length > 3 ? said.dataset.many.replace("{count}", names.length) : names.join(", ");
  };
  input.addEventListener("change", tell);
  for (const name of ["dragover", "dragleave", "drop"]) box.addEventListener(name, (e) => {
    e.preventDefault();
    box.classList.toggle("over", name === "dragover");
    if (name !== "drop" || !e.dataTransfer.files.length) return;
    input.files = e.dataTransfer.files;
    tell();
  });
})();
