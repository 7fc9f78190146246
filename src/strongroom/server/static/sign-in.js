// Takes the code of a link out of the address and sends it; without script a person pastes it.
"use strict";
(() => {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  const form = document.getElementById("by-code");
  if (!code || !form) return;
  history.replaceState(null, "", location.pathname + location.search);
  form.closest("details").open = true;
  form.elements.code.value = code;
  if ("waits" in form.dataset) form.querySelector("button").focus(); // it came from another site: a person sends it
  else form.submit();
})();
