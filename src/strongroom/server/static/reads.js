// Reads over time, to be zoomed and read off: drawn over the picture that stands there without script.
"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (name) => { // a token holds light-dark(): let the browser choose
    const probe = document.createElement("span");
    probe.className = `ink-${name}`; document.body.append(probe);
    const found = getComputedStyle(probe).color; probe.remove();
    return found;
  };
  const hm = (at) => new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const draw = async (box) => {
    if (box.dataset.drawn || !window.uPlot) return;
    box.dataset.drawn = "yes";
    const answer = await fetch(box.dataset.series, { headers: { accept: "application/json" } }).catch(() => null);
    if (!answer || !answer.ok) return;
    const { x, backend, stale, cache } = await answer.json();
    if (x.length < 2) return;
    const sums = x.map((_, i) => (backend[i] === null ? null : [backend[i], backend[i] + stale[i], backend[i] + stale[i] + cache[i]]));
    const layer = (n) => sums.map((s) => s && s[n]);
    const own = [cache, backend, stale];
    const said = (n) => (u, v, s, i) => (i == null || own[n][i] == null ? "–" : own[n][i].toLocaleString("en-GB"));
    const fill = (name, label, n) => ({ label, fill: colour(name), stroke: colour(name), width: 0, points: { show: false }, value: said(n) });
    const rule = { stroke: colour("rule"), width: 1 };
    const text = `12px ${css("--sans") || "sans-serif"}`;
    const chart = new uPlot({
      width: box.clientWidth, height: 212, cursor: { y: false },
      legend: { live: true },
      scales: { y: { range: (u, low, high) => [0, Math.max(4, high * 1.05)] } },
      axes: [{ stroke: colour("quiet"), font: text, grid: { show: false }, ticks: { show: false }, size: 28, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440].map((n) => n * 60), values: (u, at) => at.map(hm) },
        { stroke: colour("quiet"), font: text, grid: rule, ticks: { show: false }, size: 48 }],
      series: [{ label: box.dataset.at, value: (u, v) => (v == null ? "–" : hm(v)) }, fill("s2", box.dataset.cache, 0), fill("s3", box.dataset.stale, 2), fill("s1", box.dataset.backend, 1)],
    }, [x, layer(2), layer(1), layer(0)], box);
    box.classList.add("zoomed");
    new ResizeObserver(() => chart.setSize({ width: box.clientWidth, height: 212 })).observe(box);
  };
  const all = () => document.querySelectorAll("[data-series]").forEach(draw);
  addEventListener("DOMContentLoaded", all);
  document.addEventListener("htmx:afterSwap", all);
})();
