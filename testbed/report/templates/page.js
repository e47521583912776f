"use strict";
document.documentElement.classList.add("js");
const scenarios = [...document.querySelectorAll("details.scenario")];
const filters = [...document.querySelectorAll("button[data-filter]")];
for (const button of filters) {
  button.addEventListener("click", () => {
    for (const other of filters) other.setAttribute("aria-pressed", String(other === button));
    for (const part of document.querySelectorAll("[data-verdict]")) {
      part.hidden = button.dataset.filter !== "" && part.dataset.verdict !== button.dataset.filter;
    }
  });
}
const setOpen = (open) => { for (const one of scenarios) one.open = open; };
document.querySelector("[data-open]").addEventListener("click", () => setOpen(true));
document.querySelector("[data-close]").addEventListener("click", () => setOpen(false));
const openTarget = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  let inside = target;
  while ((inside = inside.closest("details"))) { inside.open = true; inside = inside.parentElement; }
  target.scrollIntoView();
};
window.addEventListener("hashchange", openTarget);
openTarget();
let closed = [];
window.addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const one of closed) one.open = true;
});
window.addEventListener("afterprint", () => { for (const one of closed) one.open = false; });

// A cell of the principles shows its evidence in place; without this, or where there is no popover, its link leads there.
const box = document.getElementById("evidence");
const showEvidence = (event) => {
  const cell = event.target.closest("a[data-evidence]");
  if (!cell || !box.showPopover || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const [principle, evidence, outcome] = document.getElementById(cell.hash.slice(1)).cells;
  event.preventDefault();
  const title = document.createElement("h3");
  title.textContent = principle.firstChild.textContent + ": " + outcome.textContent.trim();
  const leads = document.createElement("a");
  leads.href = cell.hash;
  leads.textContent = "In the scenario";
  leads.addEventListener("click", () => box.hidePopover());
  box.replaceChildren(title, ...[...principle.childNodes].slice(2).map((node) => node.cloneNode(true)),
    ...[...evidence.childNodes].map((node) => node.cloneNode(true)), leads);
  box.addEventListener("toggle", (closing) => { if (closing.newState === "closed") cell.focus(); }, { once: true });
  box.showPopover();
  leads.focus();
};
document.addEventListener("click", showEvidence);
