"""Style and script of the leaderboard's page. It loads nothing: both are written into the page itself."""

STYLE = """
:root { color-scheme: light dark; --bg: #fff; --fg: #1b1b1f; --soft: #f1f2f5; --line: #c9ccd3; --faint: #5b606b;
  --reproduced: #0072b2; --above: #00724f; --below: #b34700; --no-evidence: #a03045; --not-comparable: #8a4a78;
  --unverified: #7a6200; --neutral: #5b606b;
  --s0: #0072b2; --s1: #b34700; --s2: #00724f; --s3: #8a4a78; --s4: #7a6200;
  --s5: #2b6f8f; --s6: #a03045; --s7: #4d4d57; }
@media (prefers-color-scheme: dark) { :root { --bg: #15171c; --fg: #e7e8ec; --soft: #20232a; --line: #434853;
  --faint: #a5abb8; --reproduced: #6bb8ee; --above: #4fd0a5; --below: #ff9a55; --no-evidence: #ff8fa3;
  --not-comparable: #e0a3cd; --unverified: #e3c94f; --neutral: #a5abb8;
  --s0: #6bb8ee; --s1: #ff9a55; --s2: #4fd0a5; --s3: #e0a3cd; --s4: #e3c94f;
  --s5: #9ad7e8; --s6: #ff8fa3; --s7: #c9ccd3; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--bg); color: var(--fg);
  font: 16px/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; } h3 { margin-bottom: .3rem; } a { color: var(--s0); } code { overflow-wrap: anywhere; }
p, li { max-width: 48rem; } .faint { color: var(--faint); }
.scroll { overflow-x: auto; } .legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
.matrix { width: auto; } .matrix a { white-space: nowrap; text-decoration: none; }
.matrix a:hover { text-decoration: underline; } table { border-collapse: collapse; width: 100%; }
th, td { padding: .4rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th button { font: inherit; font-weight: 600; background: none; border: 0; color: inherit; padding: 0; cursor: pointer; }
th[aria-sort=ascending] button::after { content: " \\25b2"; }
th[aria-sort=descending] button::after { content: " \\25bc"; }
.open { font: inherit; background: none; border: 0; color: var(--s0); padding: 0; cursor: pointer; text-align: left; }
.open::before { content: "\\25b8\\00a0"; } .open[aria-expanded=true]::before { content: "\\25be\\00a0"; }
:focus-visible { outline: 3px solid var(--s0); outline-offset: 2px; }
.verdict { white-space: nowrap; font-weight: 600; border-left: .35rem solid currentColor; padding-left: .4rem; }
.reproduced { color: var(--reproduced); } .above { color: var(--above); } .below { color: var(--below); }
.no-evidence { color: var(--no-evidence); } .verdict.unstated { border-left-style: dotted; }
.not-comparable { color: var(--not-comparable); } .unverified-reference { color: var(--unverified); }
.not-run, .no-published-number { color: var(--neutral); }
.filters { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; } .filters label { display: grid; }
select, input { font: inherit; padding: .3rem; color: inherit; background: var(--soft); border: 1px solid var(--line); }
.detail > td { background: var(--soft); } .charts { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: .5rem 0; flex: 1 1 18rem; max-width: 34rem; } figcaption { font-size: .9rem; }
svg { width: 100%; height: auto; overflow: visible; } svg text { font-size: 11px; fill: var(--fg); }
.plot { stroke-linejoin: round; stroke-linecap: butt; } img { max-width: 100%; height: auto; }
svg line { stroke: currentColor; }
svg polyline { stroke: currentColor; stroke-width: 1.5; } svg circle { fill: currentColor; }
.grid { color: var(--line); } .diagonal { color: var(--faint); }
.s0 { color: var(--s0); } .s1 { color: var(--s1); } .s2 { color: var(--s2); } .s3 { color: var(--s3); }
.s4 { color: var(--s4); }
@media (max-width: 44rem) {
  .rows, .rows > thead, .rows > tbody, .rows > * > tr, .rows > * > tr > * { display: block; }
  .rows [hidden] { display: none; } .rows > * > tr > * { border: 0; padding: .15rem .6rem; }
  .rows > thead > tr { display: flex; flex-wrap: wrap; gap: .3rem .9rem; margin-bottom: .6rem; }
  .rows > thead > tr > th { padding: 0; } .rows > thead > tr::before { content: "sort by"; color: var(--faint); }
  .rows > tbody { border: 1px solid var(--line); margin-bottom: .8rem; padding: .4rem 0; }
  .rows td[data-label]::before { content: attr(data-label) ": "; color: var(--faint); }
  .detail table { font-size: .8rem; } .detail table :is(th, td) { padding: .3rem .3rem; }
}
"""

SCRIPT = """
const table = document.querySelector('.rows');
const filters = [...document.querySelectorAll('.filters select')];
const search = document.querySelector('.filters input');
const count = document.querySelector('#count');
function filter() {
  const wanted = search.value.trim().toLowerCase();
  let shown = 0;
  for (const body of table.tBodies) {
    const chosen = filters.every(f => !f.value || body.dataset[f.name] === f.value);
    body.hidden = !(chosen && (!wanted || body.rows[0].textContent.toLowerCase().includes(wanted)));
    shown += !body.hidden;
  }
  count.textContent = shown + ' of ' + table.tBodies.length + ' rows';
}
function sort(heading, column) {
  const up = heading.getAttribute('aria-sort') !== 'ascending';
  for (const other of heading.parentNode.cells) other.removeAttribute('aria-sort');
  heading.setAttribute('aria-sort', up ? 'ascending' : 'descending');
  const keyed = [...table.tBodies].map(body => [body.rows[0].cells[column].dataset.key, body]);
  const order = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
  // Rows without a value stay at the end either way.
  keyed.sort(([a], [b]) => !a || !b ? !a - !b : (up ? 1 : -1) * order(a, b));
  table.append(...keyed.map(([, body]) => body));
}
function open(button, wanted) {
  const row = document.getElementById(button.getAttribute('aria-controls')), cell = row.cells[0];
  if (!cell.firstChild) cell.innerHTML = document.getElementById(row.id.replace('detail', 'text')).textContent;
  button.setAttribute('aria-expanded', wanted);
  row.hidden = !wanted;
}
if (table) {
  for (const f of [...filters, search]) f.addEventListener('input', filter);
  [...table.tHead.rows[0].cells].forEach((heading, column) =>
    heading.firstElementChild.addEventListener('click', () => sort(heading, column)));
  for (const button of table.querySelectorAll('.open'))
    button.addEventListener('click', () => open(button, button.getAttribute('aria-expanded') !== 'true'));
  for (const link of document.querySelectorAll('.matrix a')) link.addEventListener('click', () => {
    for (const f of [...filters, search]) f.value = '';
    filter();
    open(document.querySelector(link.getAttribute('href') + ' .open'), true);
  });
  filter();
}
"""
