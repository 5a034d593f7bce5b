"use strict";
(() => {
  const trees = pyprof.data.trees, place = document.getElementById("tree");
  if (!trees || !place || !trees.cases.length) return;
  const { make, written } = pyprof, cases = trees.cases;
  const several = new Set(cases.map((each) => each.run)).size > 1;
  const select = make("select", { id: "case" }, ...cases.map((each, index) =>
    make("option", { value: String(index) }, several ? `${each.run}: ${each.label} (${each.setting})` : `${each.label} (${each.setting})`)));
  document.getElementById("which-tree").append(make("div", {}, make("label", { for: "case" }, "case"), select));
  select.addEventListener("change", () => show(Number(select.value)));
  // The clock whose times the picture shows: the host's, or the work of a device where that was recorded.
  const clock = make("select", { id: "clock" }, make("option", { value: "host" }, "host"), make("option", { value: "device" }, "device"));
  const clocks = make("div", {}, make("label", { for: "clock" }, "time of the"), clock);
  document.getElementById("which-tree").append(clocks);
  clock.addEventListener("change", () => show(current));
  const UNITS = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];
  let current = null, turn = 0, started = false;

  function bytes(value) {
    const units = ["B", "KiB", "MiB", "GiB"];
    let unit = 0;
    while (value >= 1024 && unit < 3) { value /= 1024; unit++; }
    return `${written(unit ? value : Math.round(value))} ${units[unit]}`;
  }

  function layersOf(each) {
    const fixed = trees.structures[each.layers], step = each.step || 1;
    const at = (name, index) => (each[name] ? each[name][index] : null) ?? 0;
    const layers = fixed.path.map((path, index) => {
      const own = at("own_forward_seconds", index) + at("own_backward_seconds", index) + at("recompute_seconds", index);
      const total = at("forward_seconds", index) + at("backward_seconds", index);
      return { id: index, parent: fixed.parent[index], path, name: path.split(".").pop() || fixed.type[index],
        type: fixed.type[index], kind: fixed.kind[index], calls: each.calls[index], parameters: fixed.parameters[index] ?? 0,
        memory: bytes((fixed.parameters[index] ?? 0) * each.width), own: own / 1e3, total: total / 1e3, share: total / step,
        forward: at("forward_seconds", index), backward: each.backward_seconds ? each.backward_seconds[index] : null,
        device: each.own_device_seconds ? each.own_device_seconds[index] : null };
    });
    if (each.own_device_seconds && clock.value === "device") {
      layers.forEach((layer) => { layer.own = layer.total = (layer.device ?? 0) / 1e3; });
      [...layers].reverse().forEach((layer) => { if (layer.parent !== null) layers[layer.parent].total += layer.total; });
      layers.forEach((layer) => { layer.share = layer.total / (layers[0].total || 1); });
    }
    return layers;
  }

  async function show(index) {
    current = index;
    started = true;
    clocks.hidden = !cases[index].own_device_seconds;
    const mine = ++turn, each = cases[index], layers = layersOf(each), device = !clocks.hidden && clock.value === "device";
    const depths = [];
    layers.forEach((layer) => { depths[layer.id] = layer.parent === null ? 1 : depths[layer.parent] + 1; });
    const kinds = trees.spec.scales.find((scale) => scale.name === "kind");
    const used = new Set(layers.filter((layer) => layer.own > 0).map((layer) => layer.kind));
    document.getElementById("tree-legend").replaceChildren(...kinds.domain.map((kind, number) => [kind, kinds.range[number]])
      .filter(([kind]) => used.has(kind)).map(([kind, colour]) => {
        const swatch = make("span", { class: "swatch" });
        swatch.style.background = colour;
        return make("li", {}, swatch, kind);
      }));
    const time = (value) => { const [unit, size] = UNITS.find(([, size]) => Math.abs(value) >= size) ?? UNITS[3]; return `${written(value / size)} ${unit}`; };
    const said = [`a step with probes took ${time(each.step)}`, `${time(each.outside)} of it outside of all layers`];
    if (device) said.push(`the device worked for ${time(layers[0].total * 1e3)} of it, of which the shares are`);
    else if (!each.own_device_seconds && !each.setting.startsWith("cpu ")) said.push("times are the host's: what the device did was not recorded");
    if (each.memory) said.push(`the case's peak memory is ${each.memory}`);
    document.getElementById("tree-said").textContent = `${each.label}: ${said.join("; ")}.`;
    place.setAttribute("aria-label", `Layers of ${each.label} as a tree; the table below has the same in numbers.`);
    const spec = { ...trees.spec, width: Math.max(place.clientWidth - 8, 240), height: 26 * Math.max(...depths), config: pyprof.data.config,
      data: trees.spec.data.map((source) => source.name === "layers" ? { ...source, values: layers.map((layer) => ({ ...layer })) } : source) };
    const result = await pyprof.embed(place, spec, "vega");
    if (mine !== turn) return result.finalize();
    pyprof.walkable(place, result.view, `Layers of ${each.label}`);
    place.dataset.drawn = device ? `${each.label} on the device` : each.label;
    const [unit, size] = UNITS.find(([, size]) => each.step >= 10 * size) ?? UNITS[3];
    const optional = [];
    if (each.backward_seconds) optional.push([`backward (${unit})`, (layer) => layer.backward === null ? null : layer.backward / size]);
    if (each.own_device_seconds) optional.push([`own device time (${unit})`, (layer) => layer.device === null ? null : layer.device / size]);
    const titles = ["layer", "type", "kind", `forward (${unit})`, ...optional.map(([title]) => title), `own (${unit})`, "share (%)", "calls", "parameters", "their memory"];
    const rows = layers.map((layer) => [make("span", { class: "indent" }, "  ".repeat(depths[layer.id] - 1) + layer.name), layer.type, layer.kind,
      layer.forward / size, ...optional.map(([, value]) => value(layer)), layer.own * 1e3 / size, 100 * layer.share, layer.calls, layer.parameters, layer.memory]);
    const details = make("details", { class: "numbers" }, make("summary", {}, `All ${layers.length} layers as a table`));
    details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(pyprof.tableOf(titles, rows, `Layers of ${each.label}`)); });
    document.getElementById("tree-table").replaceChildren(details);
  }

  pyprof.showTree = (key) => {
    const index = cases.findIndex((each) => each.key === key);
    if (index < 0) return;
    select.value = String(index);
    show(index);
    document.getElementById("layers").scrollIntoView();
    select.focus({ preventScroll: true });
  };
  new IntersectionObserver((entries, observer) => {
    if (entries.some((entry) => entry.isIntersecting)) { observer.disconnect(); if (!started) show(0); }
  }, { rootMargin: "300px" }).observe(place);
  let width = place.clientWidth;
  window.addEventListener("resize", () => { if (current !== null && place.clientWidth !== width) { width = place.clientWidth; show(current); } });
})();
