"use strict";
const table = document.querySelector(".rows");
const form = document.querySelector(".filters");
const rows = [...table.tBodies];
const columns = [...table.tHead.rows[0].cells];
const words = new Map(rows.map(row => [row, (row.rows[0].textContent + row.querySelector("summary").textContent).toLowerCase()]));

function filter() {
  const chosen = [...form.querySelectorAll("select")].filter(select => select.value);
  const wanted = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    row.hidden = !(chosen.every(select => row.dataset[select.name] === select.value)
      && wanted.every(word => words.get(row).includes(word)));
    shown += !row.hidden;
  }
  form.querySelector("[role=status]").textContent = `${shown} of ${rows.length} rows`;
}

// Scores of the two worlds have nothing in common: within a column of scores, images come before control.
function sort(column) {
  const heading = columns[column], up = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of columns) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const score = ["ours", "published", "gap"].includes(heading.className);
  const keyed = rows.map(row => ({ row, world: score ? row.dataset.world : "", key: row.rows[0].cells[column].dataset.key }));
  const order = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
  keyed.sort((a, b) => b.world.localeCompare(a.world)
    || (!a.key || !b.key ? !a.key - !b.key : (up ? 1 : -1) * order(a.key, b.key)));
  table.append(...keyed.map(({ row }) => row));
}

function open() {
  const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!rows.includes(row)) return;
  form.reset();
  filter();
  row.querySelector("details").open = true;
  row.scrollIntoView();
}

columns.forEach((heading, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  button.addEventListener("click", () => sort(column));
  heading.append(button);
});
form.addEventListener("input", filter);
form.addEventListener("submit", event => event.preventDefault());
form.hidden = false;
addEventListener("hashchange", open);
document.addEventListener("click", event => {  // the same link once more changes no address
  if (event.target.closest("a")?.hash === location.hash) open();
});
filter();
open();
