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
  if (target instanceof HTMLDetailsElement) { target.open = true; target.scrollIntoView(); }
};
window.addEventListener("hashchange", openTarget);
openTarget();
let closed = [];
window.addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const one of closed) one.open = true;
});
window.addEventListener("afterprint", () => { for (const one of closed) one.open = false; });
