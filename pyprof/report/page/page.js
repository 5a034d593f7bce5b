"use strict";
const pyprof = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (selector, within = document) => [...within.querySelectorAll(selector)];

  // An element: text goes in as text alone, so that no name or message can become markup.
  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "onclick") element.addEventListener("click", value);
      else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null).map((child) => child instanceof Node ? child : String(child)));
    return element;
  }

  function rowsOf(columns) {
    const names = Object.keys(columns), length = names.length ? columns[names[0]].length : 0, rows = [];
    for (let index = 0; index < length; index++) {
      const row = {};
      for (const name of names) row[name] = columns[name][index];
      rows.push(row);
    }
    return rows;
  }

  // Three significant digits, and all of the whole ones.
  function written(value) {
    if (typeof value !== "number") return value === null || value === undefined ? "–" : String(value);
    if (Number.isInteger(value)) return value.toLocaleString("en");
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e9)) return value.toExponential(2);
    const digits = size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3;
    return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }

  function tableOf(titles, rows, caption) {
    const head = make("tr", {}, ...titles.map((title) => make("th", { scope: "col" }, title)));
    const body = rows.map((row) => make("tr", {}, ...row.map((cell) =>
      cell instanceof Node ? make("td", {}, cell) : make("td", { class: typeof cell === "number" ? "number" : null }, written(cell)))));
    return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
      make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body)));
  }

  // ---- colours ----
  const scheme = document.getElementById("scheme");
  if (scheme) scheme.addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  });

  // ---- charts ----
  const waiting = new Set(), drawn = new Map();
  const refuse = { load: () => Promise.reject(new Error("a page loads nothing")), sanitize: () => Promise.reject(new Error("a page loads nothing")) };

  function choiceOf(plot) {
    const group = plot.closest("[data-group]");
    return group ? $("input[type=radio]:checked", group).map((input) => input.value).join("|") : "";
  }

  function specOf(name, choice, width) {
    const chart = data.charts[name], spec = chart.specs[choice];
    if (chart.language === "vega") {
      const tables = Object.fromEntries(Object.entries(chart.tables).map(([key, columns]) => [key, rowsOf(columns)]));
      return { ...spec, width, height: chart.height, config: data.config,
        data: spec.data.map((source) => source.name in tables ? { ...source, values: tables[source.name] } : source) };
    }
    const datasets = {};
    for (const [key, columns] of Object.entries(chart.tables)) datasets[key] = rowsOf(columns);
    return { ...spec, width: "container", height: chart.height, datasets, config: data.config,
      autosize: { type: "fit-x", contains: "padding", resize: true } };
  }

  // Vega calls whatever it draws "Vega visualization": a picture keeps the words that it has.
  async function embed(place, spec, mode) {
    const role = place.getAttribute("role"), words = place.getAttribute("aria-label");
    const result = await vegaEmbed(place, spec, { mode, renderer: "svg", actions: false, ast: true, loader: refuse, tooltip: { theme: "custom" } });
    place.setAttribute("role", role);
    place.setAttribute("aria-label", words);
    place.removeAttribute("aria-roledescription");
    return result;
  }

  async function draw(plot) {
    waiting.delete(plot);
    const name = plot.dataset.chart, choice = choiceOf(plot);
    const turn = (Number(plot.dataset.turn) || 0) + 1;
    plot.dataset.turn = turn;
    drawn.get(plot)?.finalize();
    const spec = specOf(name, choice, Math.max(plot.clientWidth - 8, 200));
    const result = await embed(plot, spec, data.charts[name].language);
    if (Number(plot.dataset.turn) !== turn) return result.finalize();
    drawn.set(plot, result);
    pyprof.walkable(plot, result.view, name);
    plot.dataset.drawn = choice || "only";
    if (plot.clientHeight) plot.style.minHeight = "";
  }

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting && waiting.has(entry.target)) { seen.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "300px" });

  function watch(plot) { waiting.add(plot); seen.observe(plot); }
  $(".plot[data-chart]").forEach(watch);
  $("[data-group]").forEach((group) => group.addEventListener("change", (event) => {
    if (event.target.type === "radio") $(".plot[data-chart]", group).forEach((plot) => { if (!waiting.has(plot)) draw(plot); });
  }));
  // What nobody has scrolled to is drawn while nothing else is to be done, so that a print has it.
  const later = window.requestIdleCallback || ((work) => setTimeout(work, 50));
  function drawNext() {
    const [plot] = waiting;
    if (plot) { seen.unobserve(plot); draw(plot).then(() => later(drawNext)); }
  }
  window.addEventListener("load", () => setTimeout(() => later(drawNext), 1500));
  window.addEventListener("beforeprint", () => [...waiting].forEach(draw));

  $("details[data-of]").forEach((details) => details.addEventListener("toggle", () => {
    if (!details.open || details.dataset.filled) return;
    details.dataset.filled = "yes";
    for (const columns of Object.values(data.charts[details.dataset.of].tables)) {
      const names = Object.keys(columns);
      const rows = names.length ? columns[names[0]].map((_, index) => names.map((name) => columns[name][index])) : [];
      details.append(tableOf(names.map((name) => name.replaceAll("_", " ")), rows.slice(0, 1000), rows.length > 1000 ? "the first 1,000 rows" : "all rows"));
    }
  }));

  document.addEventListener("DOMContentLoaded", () => { document.documentElement.dataset.ready = "yes"; });
  return { data, make, written, tableOf, embed };
})();
