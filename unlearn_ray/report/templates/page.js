"use strict";
(() => {
  const text = (id) => document.getElementById(id).textContent;

  // Tables: a header's button sorts by its column; numbers by value, what has none comes last.
  const value = (cell) => {
    const shown = cell.textContent.trim();
    const number = /^\d{4}-\d\d-\d\d/.test(shown) ? NaN : Number.parseFloat(shown.replace(/,/g, ""));
    return { shown, number, empty: shown === "-" || shown === "" };
  };
  const order = (a, b, sign, numeric) => {
    if (a.empty !== b.empty) return a.empty ? 1 : -1;
    const by = numeric ? a.number - b.number : a.shown.localeCompare(b.shown, "en");
    return sign * by;
  };
  const sort = (table, column, header) => {
    const ascending = header.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map((row) => [value(row.cells[column]), row]);
    const numeric = rows.every(([cell]) => cell.empty || !Number.isNaN(cell.number));
    rows.sort(([a], [b]) => order(a, b, ascending ? 1 : -1, numeric));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      header.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(table, column, header));
    });
  }

  // Paper shows what is folded away on a screen.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of folded) one.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
  });

  // Figures. `ast` has expressions interpreted: the page allows no code but its own.
  const options = {
    renderer: "svg", ast: true, actions: false, defaultStyle: false,
    config: JSON.parse(text("chart-config")), tooltip: { disableDefaultStyle: true },
  };
  const save = (view, name) => async () => {
    const blob = new Blob([await view.toSVG()], { type: "image/svg+xml" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${name}.svg`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  const draw = async (place) => {
    const { name } = place.dataset;
    try {
      const { view } = await vegaEmbed(place, JSON.parse(text(`spec-${name}`)), options);
      const button = document.createElement("button");
      button.type = "button";
      button.className = "save";
      button.textContent = "Save as SVG";
      button.setAttribute("aria-label", `Save as SVG: ${place.dataset.title}`);
      button.addEventListener("click", save(view, name));
      place.closest("figure").querySelector("figcaption").append(" ", button);
      place.dataset.state = "drawn";
    } catch (error) {
      place.textContent = `This figure could not be drawn: ${error.message}`;
      place.dataset.state = "failed";
      console.error(error);
    }
  };
  Promise.all([...document.querySelectorAll(".chart")].map(draw)).then(() => {
    document.documentElement.dataset.state = "ready";
  });
})();
