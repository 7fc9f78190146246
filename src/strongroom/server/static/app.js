// The page's own script: theme, zone, palette, keys, copies, toasts, panels, marks, passing sights, live.
// Every page reads and every form works without it; nothing here holds a word that people read.
"use strict";
(() => {
  const $ = (s, r = document) => r.querySelector(s);
  const $$ = (s, r = document) => [...r.querySelectorAll(s)];
  const root = document.documentElement, body = document.body;
  const on = (name, act, to = document) => to.addEventListener(name, act);
  const keep = (name, value) => {
    document.cookie = `${name}=${value}; Path=/; Max-Age=31536000; SameSite=Lax${location.protocol === "https:" ? "; Secure" : ""}`;
  };

  // the reader's zone, for the times of the next page
  keep("tz", Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC");

  // --- toasts: what was just done; one with Undo stays -----------------------------------------
  const box = $("#toasts");
  const fade = () => $$(".toast", box || document).forEach((t) => {
    if ("stays" in t.dataset || t.dataset.fading) return;
    t.dataset.fading = "yes";
    setTimeout(() => t.remove(), 5000);
  });
  const say = (text) => {
    if (!box || !text) return;
    const t = document.createElement("div"), s = document.createElement("span");
    t.className = "toast"; s.textContent = text; t.append(s);
    box.replaceChildren(t); fade();
  };
  const copy = async (text, said) => {
    try { await navigator.clipboard.writeText(text); } catch {
      const t = document.createElement("textarea"); // no clipboard without TLS on another host
      t.value = text; t.className = "vh"; body.append(t); t.select();
      try { document.execCommand("copy"); } finally { t.remove(); }
    }
    say(said);
  };

  // --- clicks ----------------------------------------------------------------------------------
  on("click", (e) => {
    const at = (s) => e.target.closest?.(s);
    let it = at("[data-copy]");
    if (it) return void copy(it.dataset.copy, it.dataset.copied);
    if ((it = at("[data-copy-from]"))) return void copy(document.getElementById(it.dataset.copyFrom)?.textContent ?? "", it.dataset.copied);
    if ((it = at("[data-theme-switch]"))) {
      e.preventDefault();
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      return void keep("theme", root.dataset.theme);
    }
    if (at("[data-palette]") && !(e.ctrlKey || e.metaKey)) { e.preventDefault(); return void openPalette(); }
    if ((it = at("[data-dismiss]"))) return void it.closest(".banner")?.remove();
    if ((it = at("[data-close-panel]"))) {
      const d = it.closest("dialog");
      if (d) { e.preventDefault(); d.close(); }
      return;
    }
    if ((it = at("[data-hide]"))) return void hide(it.closest("[data-seconds]"));
    if (at("[data-clear]")) { e.preventDefault(); return void clearMarks(); }
    $$("details.place[open]").forEach((d) => d.contains(e.target) || (d.open = false));
  });
  on("submit", (e) => { // a typed confirmation is sent once the word stands there
    const word = $("[data-word]", e.target);
    if (word && word.value !== word.dataset.word) { e.preventDefault(); e.stopImmediatePropagation(); word.focus(); }
  }, window);

  // --- panels: a dialog that came into #panel opens over the page ------------------------------
  let from = null; // where one was when it was asked for
  const openPanels = () => $$("dialog.ask:not([data-shown])").forEach((d) => {
    d.dataset.shown = "yes"; d.open = false; d.showModal();
    (d.querySelector("[autofocus], [aria-invalid=true], input:not([type=hidden]), textarea, select") || $("h2", d))?.focus();
    const back = from;
    on("close", () => { d.remove(); if (back?.isConnected) back.focus({ preventScroll: true }); }, d);
  });

  // --- what is shown for some seconds, and then no more ----------------------------------------
  const hide = (it) => {
    if (!it) return;
    clearInterval(it.sr);
    const after = it.dataset.after && document.getElementById(it.dataset.after);
    it.remove();
    if (after) { after.hidden = false; $("button, a", after)?.focus(); }
  };
  const run = () => $$("[data-seconds]:not([data-running])").forEach((it) => {
    it.dataset.running = "yes";
    const ends = Date.now() + it.dataset.seconds * 1000, bar = $("progress", it);
    it.sr = setInterval(() => {
      const left = (ends - Date.now()) / 1000;
      if (bar) bar.value = Math.max(0, left);
      if (left <= 0 || !it.isConnected) hide(it);
    }, 250);
  });
  on("pagehide", () => $$("[data-seconds]").forEach(hide), window);

  // --- marks -----------------------------------------------------------------------------------
  const marks = () => $$("[data-mark]");
  let last = null;
  const count = () => {
    const bar = $("[data-bulk]"), n = marks().filter((m) => m.checked).length;
    marks().forEach((m) => { const r = m.closest("tr"); r?.classList.toggle("on", m.checked || "open" in r.dataset); });
    if (!bar) return;
    const said = $("b", bar), text = n === 1 ? said.dataset.one : said.dataset.many.replace("#", n);
    bar.classList.toggle("some", n > 0);
    if (said.textContent !== text) said.textContent = text;
  };
  const clearMarks = () => { marks().forEach((m) => { m.checked = false; }); count(); };
  const upTo = (m) => {
    const all = marks(), a = all.indexOf(last), b = all.indexOf(m);
    if (a >= 0 && b >= 0) all.slice(Math.min(a, b), Math.max(a, b) + 1).forEach((x) => { x.checked = m.checked; });
  };
  on("click", (e) => { if (e.target.matches?.("[data-mark]")) { if (e.shiftKey) upTo(e.target); last = e.target; count(); } });
  on("change", (e) => { if (e.target.matches?.("[data-mark]")) count(); });

  // --- palette: a combobox in a native dialog; focus returns by itself -------------------------
  const palette = $("#palette"), asked = $("#palette-q"), list = $("#palette-list");
  const options = () => $$("[role=option]", list);
  const chosen = () => $("[aria-selected=true]", list);
  const pick = (o) => {
    options().forEach((x) => x.setAttribute("aria-selected", String(x === o)));
    if (o) { asked.setAttribute("aria-activedescendant", o.id); o.scrollIntoView({ block: "nearest" }); } else asked.removeAttribute("aria-activedescendant");
  };
  const openPalette = () => {
    if (!palette || palette.open) return;
    palette.showModal(); asked.select();
    window.htmx?.trigger(asked, "palette");
  };
  const go = (o, apart) => {
    if (!o) return;
    if (o.dataset.copy) { palette.close(); return void copy(o.dataset.copy, o.dataset.copied); }
    if (o.dataset.switch !== undefined) { palette.close(); return void $("[data-theme-switch]")?.click(); }
    if (apart) return void window.open(o.dataset.go, "_blank", "noopener");
    palette.close(); location.assign(o.dataset.go);
  };
  if (palette) {
    on("keydown", (e) => {
      const all = options(), at = all.indexOf(chosen());
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 8, PageUp: at - 8 }[e.key];
      if (to !== undefined && all.length) {
        e.preventDefault();
        pick(all[e.key.startsWith("Page") ? Math.max(0, Math.min(all.length - 1, to)) : (to + all.length) % all.length]);
      }
      if (e.key === "Enter") { e.preventDefault(); e.stopPropagation(); go(chosen(), e.ctrlKey || e.metaKey); }
    }, asked);
    on("click", (e) => {
      const o = e.target.closest("[role=option]");
      if (o) go(o, e.ctrlKey || e.metaKey); else if (e.target === palette) palette.close();
    }, palette);
  }

  // --- keys: never while typing, and off where somebody wants them off --------------------------
  const typing = (e) => e.target.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
  const pages = { o: "overview", i: "inventory", e: "explain", d: "deployments", b: "backends", a: "audit" };
  const rows = () => $$("main .ledger tbody tr").filter((r) => link(r) && r.offsetParent);
  const link = (r) => $("a.nm, a[data-line]", r) || $("th a, td a", r);
  const shown = (it) => it.offsetParent !== null || it.getClientRects().length > 0;
  const bound = (key) => $$(`[aria-keyshortcuts~="${CSS.escape(key)}"]`).find(shown);
  let before = "", walked = 0;
  const walk = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((r) => r.contains(document.activeElement)), from = at < 0 ? all.findIndex((r) => "open" in r.dataset) : at;
    const to = link(all[Math.max(0, Math.min(all.length - 1, from + by))]);
    to.focus();
    if ($("#drawer") && to.hasAttribute("hx-get")) { clearTimeout(walked); walked = setTimeout(() => to.click(), 150); }
  };
  const mark = (range) => {
    const r = rows().find((x) => x.contains(document.activeElement)), m = r && $("[data-mark]", r);
    if (!m) return;
    m.checked = range || !m.checked;
    if (range) upTo(m);
    last = m; count();
  };
  const keys = {
    "/": () => ($("#find") || bound("/"))?.focus(),
    j: () => walk(1),
    k: () => walk(-1),
    x: () => mark(false),
    X: () => mark(true),
    o: () => {
      const it = bound("o"), r = rows().find((x) => x.contains(document.activeElement));
      if (r) location.assign(link(r).href); else it?.click();
    },
    c: () => $("#twin [data-copy]")?.click(),
    "?": () => { const to = body.dataset.keysAt; if (to) window.htmx ? window.htmx.ajax("GET", to, "#panel") : location.assign(to); },
  };
  const escape = () => {
    if ($("details.place[open]")) return void $$("details.place[open]").forEach((d) => { d.open = false; });
    const close = $("#drawer [data-close]");
    if (marks().some((m) => m.checked) && !close) return clearMarks();
    if (close) close.click(); else if (/^#(facets|rail)$/.test(location.hash)) location.hash = "main";
  };
  on("keydown", (e) => {
    if ((e.ctrlKey || e.metaKey) && !e.altKey && e.key.toLowerCase() === "k") { e.preventDefault(); return void openPalette(); }
    if ((e.ctrlKey || e.metaKey) && e.key === "Enter") {
      const form = e.target.form || e.target.closest?.("form") || $("main form:has(.btn.main)");
      const main = form && ($(".btn.main", form) || $(`.btn.main[form="${form.id}"]`));
      if (main) { e.preventDefault(); main.click(); }
      return;
    }
    if (e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey || $("dialog[open]")) return;
    if (e.key === "Escape") return void (typing(e) ? e.target.blur() : escape());
    if (typing(e) || body.dataset.keys === "off" || e.key.length > 1) return;
    if (before === "g") {
      before = "";
      const to = pages[e.key] && $(`#rail [data-page="${pages[e.key]}"]`);
      if (to) { e.preventDefault(); return void location.assign(to.href); }
    }
    if (e.key === "g") { before = "g"; return void setTimeout(() => { before = ""; }, 1500); }
    if (keys[e.key]) { e.preventDefault(); return void keys[e.key](); }
    const it = bound(e.key);
    if (it) { e.preventDefault(); it.matches("input, textarea, select") ? it.focus() : it.click(); }
  });

  // --- swaps: marks counted again, panels opened, focus on what came ----------------------------
  const settle = () => {
    fade(); openPanels(); run(); count();
    $$(".tabs [aria-current]").forEach((a) => { // where they are wider than the page
      const nav = a.closest(".tabs"), over = a.offsetLeft + a.offsetWidth - nav.clientWidth - nav.offsetLeft;
      if (over > 0) nav.scrollLeft = over + 32;
    });
  };
  let opener = "";
  on("htmx:beforeRequest", () => { if (!$("dialog[open]")) from = document.activeElement; });
  on("htmx:beforeRequest", (e) => { const a = e.target.closest?.("a.nm"); if (a) opener = a.getAttribute("href"); });
  on("htmx:afterSettle", (e) => {
    const to = e.detail.target || body; // none where a page is restored from the history
    if (to === list) return void pick(options()[0]);
    settle();
    if (document.activeElement !== body && document.activeElement?.isConnected && to.id !== "drawer-place") return;
    if ($("dialog[open]")) return;
    const wrong = $("[aria-invalid=true]", to), head = wrong || $("[data-focus], #d-h", to) || $("h1, h2", to);
    if (to.id === "drawer-place" && !to.firstElementChild) {
      $$("a.nm").find((a) => a.getAttribute("href") === opener)?.focus();
    } else if (head) { if (!wrong) head.tabIndex = -1; head.focus({ preventScroll: to.id !== "main" }); }
  });
  let searched = ""; // one search is one step back, however many letters it has: the first pushes, the others replace
  on("focusin", (e) => { if (e.target.matches(".find input")) searched = ""; });
  on("htmx:beforeHistoryUpdate", ({ detail: { history, requestConfig } }) => {
    if (!requestConfig.elt.matches(".find input")) return;
    if (location.href === searched) history.type = "replace";
    searched = new URL(history.path, location).href;
  });
  on("htmx:beforeSwap", (e) => { // what is no page is not put into one
    if (e.detail.xhr.status >= 400 && !/html/.test(e.detail.xhr.getResponseHeader("content-type") || "")) e.detail.shouldSwap = false;
  });
  const offline = $("#offline");
  const lost = (is) => { if (offline) offline.hidden = !is; };
  for (const name of ["htmx:sendError", "htmx:timeout"]) on(name, () => lost(true));
  on("htmx:afterRequest", (e) => { if (e.detail.xhr?.status) lost(false); });

  // --- who one is: what waited for a proof goes on once it is given; a session that ends says so before ------
  let waiting = null;
  on("htmx:configRequest", (e) => { // a page that stands open uses no session
    const by = e.detail.triggeringEvent;
    if (!by || by.type.startsWith("sr:")) e.detail.headers["X-By-Itself"] = "yes"; else used();
  });
  on("htmx:beforeSwap", (e) => { if (e.detail.xhr.getResponseHeader("X-Proof")) waiting = e.detail.requestConfig?.elt || null; });
  on("sr:proven", () => {
    const it = waiting;
    waiting = null;
    $$("dialog.ask").forEach((d) => d.remove());
    if (it?.isConnected) it.matches("form") ? it.requestSubmit() : it.click();
  });
  on("sr:signed-in", () => { $$("dialog.ask").forEach((d) => d.remove()); used(); listen(); });
  const windows = window.BroadcastChannel && new BroadcastChannel("strongroom"); // a sign-in beside this window
  if (windows) $("[data-beside]") ? windows.postMessage("signed-in") : windows.onmessage = () => $("form[data-goes-on]")?.requestSubmit();
  const ending = $("#ending"), idle = Number(body.dataset.idle || 0), ends = Date.now() + Number(body.dataset.ends || 0) * 1000;
  let lastUse = Date.now();
  const used = () => { lastUse = Date.now(); if (ending) ending.hidden = true; };
  on("sr:stayed", used);
  if (ending && idle) setInterval(() => {
    const left = Math.min(lastUse + idle * 1000, ends) - Date.now();
    ending.hidden = left > 120000;
  }, 5000);

  // --- live: names and versions as they change; each part fetches what it shows -----------------
  const lamp = $("#live"), address = body.dataset.events;
  let source = null, wait = 1, timer = 0, paused = false, newer = 0;
  const lit = (text, state) => { if (lamp) { lamp.hidden = false; lamp.dataset.state = state; if (lamp.textContent !== text) lamp.textContent = text; } };
  const tell = (e) => {
    let what = {};
    try { what = JSON.parse(e.data); } catch { /* a name alone */ }
    newer += what.changes?.length || 1;
    body.dispatchEvent(new CustomEvent("sr:changed", { detail: what }));
    $$("[data-newer]").forEach((n) => { n.hidden = false; n.textContent = newer === 1 ? n.dataset.one : n.dataset.many.replace("#", newer); });
  };
  const listen = () => {
    clearInterval(timer);
    if (source || !address || !window.EventSource || document.hidden || paused) return;
    source = new EventSource(address);
    source.onopen = () => {
      if (wait > 1) body.dispatchEvent(new CustomEvent("sr:changed", { detail: { all: true } })); // who knows what was missed
      wait = 1; lit(lamp.dataset.live, "on");
    };
    source.addEventListener("changed", tell);
    source.onerror = () => {
      stop();
      wait = Math.min(60, wait * 2);
      let left = wait;
      lit(lamp.dataset.again.replace("#", left), "wait");
      timer = setInterval(() => { left -= 1; if (left <= 0) listen(); else lit(lamp.dataset.again.replace("#", left), "wait"); }, 1000);
    };
  };
  const stop = () => { clearInterval(timer); source?.close(); source = null; };
  if (lamp) {
    on("click", () => { paused = !paused; lamp.setAttribute("aria-pressed", String(paused)); if (paused) { stop(); lit(lamp.dataset.paused, "off"); } else listen(); }, lamp);
    on("visibilitychange", () => (document.hidden ? stop() : listen())); // a hidden page keeps no connection
    on("pagehide", stop, window);
    on("pageshow", listen, window);
    listen();
  }

  window.strongroom = { say, copy };
  settle();
  if (!$("dialog[open]")) $("[data-focus] ~ * [aria-invalid=true], form [aria-invalid=true]")?.focus();
  if (location.hash === "#palette") openPalette();
})();
