"use strict";
(() => {
  const records = pyprof.data.records, place = document.getElementById("records");
  if (!records || !place) return;
  const { make, written } = pyprof, { columns, heads, chosen } = records;
  const total = columns.key ? columns.key.length : 0, STEP = 50;
  const texts = heads.filter((head) => head.text).map((head) => head.name);
  const words = Array.from({ length: total }, (_, index) =>
    [...texts.map((name) => columns[name][index] ?? ""), columns.length[index], columns.key[index]].join(" ").toLowerCase());
  let order = Array.from({ length: total }, (_, index) => index), left = order, shown = STEP;
  let sorted = null, descending = false;

  const search = make("input", { type: "search", id: "find", autocomplete: "off" });
  const filters = chosen.map((name) => {
    const values = [...new Set(columns[name])].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const select = make("select", { "data-column": name, id: `filter-${name}` }, make("option", { value: "" }, "all"),
      ...values.map((value, index) => make("option", { value: String(index + 1) }, value || "none")));
    select.wanted = () => select.value === "" ? null : values[Number(select.value) - 1];
    return select;
  });
  const tools = document.getElementById("filters");
  const labelled = (words, control) => make("div", {}, make("label", { for: control.id }, words), control);
  tools.append(labelled("contains", search), ...filters.map((select) => labelled(select.dataset.column, select)));
  tools.append(make("button", { type: "button", onclick: () => { search.value = ""; filters.forEach((each) => { each.value = ""; }); apply(); } }, "Show all"));
  search.addEventListener("input", apply);
  filters.forEach((select) => select.addEventListener("change", apply));

  const headings = heads.map((head) => {
    const button = make("button", { type: "button", onclick: () => sort(head.name) }, head.title);
    return make("th", { scope: "col", class: head.text ? null : "number", "aria-sort": "none", "data-column": head.name }, button);
  });
  const body = make("tbody", {});
  place.append(make("table", {}, make("caption", {}, "All records"), make("thead", {}, make("tr", {}, ...headings)), body));
  const more = make("button", { type: "button", id: "more", onclick: () => { shown += STEP; fill(); } }, "Show more");
  place.after(more);
  const trees = new Set((pyprof.data.trees?.cases ?? []).map((each) => each.key));

  function compare(name) {
    const column = columns[name];
    return (a, b) => {
      const one = column[a], other = column[b];
      if (one === other) return a - b;
      if (one === null || one === undefined) return 1;
      if (other === null || other === undefined) return -1;
      const by = typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other), "en", { numeric: true });
      return descending ? -by : by;
    };
  }

  function sort(name) {
    descending = sorted === name ? !descending : false;
    sorted = name;
    order.sort(compare(name));
    headings.forEach((heading) => heading.setAttribute("aria-sort",
      heading.dataset.column === name ? (descending ? "descending" : "ascending") : "none"));
    apply();
  }

  function apply() {
    const asked = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = filters.map((select) => [columns[select.dataset.column], select.wanted()]).filter(([, value]) => value !== null);
    left = order.filter((index) => asked.every((word) => words[index].includes(word)) && wanted.every(([column, value]) => column[index] === value));
    shown = STEP;
    fill();
  }

  function cell(head, index) {
    const value = columns[head.name]?.[index];
    if (head.name === "reason") return make("td", { class: "reason", title: value }, value ?? "");
    if (head.text) return make("td", {}, value ?? "");
    const parts = [value === null || value === undefined ? "–" : written(value)];
    const low = columns[`${head.name}_low`]?.[index], high = columns[`${head.name}_high`]?.[index];
    if (typeof low === "number" && typeof high === "number") parts.push(" ", make("small", {}, `[${written(low)}–${written(high)}]`));
    return make("td", { class: "number" }, ...parts);
  }

  function fill() {
    body.replaceChildren(...left.slice(0, shown).map((index) => {
      const row = make("tr", {}, ...heads.map((head) => cell(head, index)));
      if (trees.has(columns.key[index])) {
        const open = make("button", { type: "button", onclick: () => pyprof.showTree(columns.key[index]) }, "layers");
        row.firstChild.prepend(open, " ");
      }
      return row;
    }));
    more.hidden = left.length <= shown;
    document.getElementById("count").textContent =
      `${left.length.toLocaleString("en")} of ${total.toLocaleString("en")} records, ${Math.min(shown, left.length).toLocaleString("en")} shown`;
  }
  apply();
})();
