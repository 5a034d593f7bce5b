"use strict";
// A tree of layers by the keyboard: it is one stop of Tab, arrows move in it, Enter or Space widens, Escape goes back.
pyprof.walks = new Map();
pyprof.walkable = (place, view, chart) => {
  const group = place.querySelector(".mark-rect.cell");
  if (!group) return;
  const layers = view.data("seen"), known = new Map(layers.map((layer) => [layer.id, layer])), children = new Map();
  layers.forEach((layer) => children.set(layer.parent, [...(children.get(layer.parent) ?? []), layer]));
  children.forEach((each) => each.sort((one, other) => one.x0 - other.x0));
  // One picture takes the place of another one. The listeners are the place's: with its own, Chrome lets the group have the focus.
  pyprof.walks.get(place)?.abort();
  const walk = new AbortController(), until = { signal: walk.signal };
  pyprof.walks.set(place, walk);
  const said = pyprof.make("p", { class: "faint picked", "aria-hidden": "true" });
  place.append(said);
  let here = layers.find((layer) => !known.has(layer.parent)), wide = null;
  const wider = (layer) => {
    const above = known.get(layer.parent);
    return above && above.x1 - above.x0 <= layer.x1 - layer.x0 ? wider(above) : above;
  };
  const isIn = (layer, frame) => !frame || (layer.x0 < frame.x1 && layer.x1 > frame.x0);

  // Vega draws the marks; what a keyboard and a screen reader need of them is put on after each drawing.
  function mark() {
    group.setAttribute("role", "tree");
    group.setAttribute("aria-label", chart);
    group.removeAttribute("aria-roledescription");
    for (const cell of group.querySelectorAll("path")) {
      const layer = cell.__data__.datum;
      cell.setAttribute("tabindex", layer.id === here.id ? "0" : "-1");
      cell.setAttribute("aria-level", String(layer.depth + 1));
    }
  }

  function widen(layer) {
    wide = layer && known.has(layer.parent) ? layer : null;
    return view.signal("focus", wide && { x0: wide.x0, x1: wide.x1 }).runAsync().then(mark);
  }

  async function go(layer) {
    if (!layer) return;
    here = layer;
    if (!isIn(layer, wide)) {
      let frame = wide;
      while (frame && !isIn(layer, frame)) frame = wider(frame);
      await widen(frame);
    }
    mark();
    [...group.querySelectorAll("path")].find((cell) => cell.__data__.datum.id === layer.id)?.focus({ preventScroll: true });
  }

  function beside(layer, step) {
    const row = layers.filter((each) => each.depth === layer.depth).sort((one, other) => one.x0 - other.x0);
    return row[row.indexOf(layer) + step];
  }

  const layerOf = (event) => { const layer = event.target.__data__?.datum; return layer && known.get(layer.id); };
  place.addEventListener("focusin", (event) => {
    here = layerOf(event) ?? here;
    said.textContent = event.target.getAttribute("aria-label");
  }, until);
  place.addEventListener("click", (event) => {
    const layer = layerOf(event);
    if (!layer) return;
    here = layer;
    wide = known.has(layer.parent) ? layer : null;
    said.textContent = event.target.getAttribute("aria-label");
    view.runAsync().then(mark);
  }, until);
  place.addEventListener("keydown", (event) => {
    const layer = layerOf(event);
    if (!layer || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {
      ArrowDown: () => go((children.get(layer.id) ?? [])[0]),
      ArrowUp: () => go(known.get(layer.parent)),
      ArrowLeft: () => go(beside(layer, -1)),
      ArrowRight: () => go(beside(layer, 1)),
      Home: () => go(layers.find((each) => !known.has(each.parent))),
      Enter: () => widen(layer),
      " ": () => widen(layer),
      Escape: () => widen(wide && wider(wide)),
    };
    if (!moves[event.key] || (event.key === "Escape" && !wide)) return;
    event.preventDefault();
    event.stopPropagation();
    moves[event.key]();
  }, until);
  mark();
};
