// What happened in one scenario: its ways, a replay along them, packets by their headers. Unpacked when first opened.
const SVG = "http://www.w3.org/2000/svg";
const make = (name, attributes = {}, words = "") => {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (words) node.textContent = words;
  return node;
};
const html = (name, words = "", css = "") => {
  const node = document.createElement(name);
  node.textContent = words;
  if (css) node.className = css;
  return node;
};
const ms = (ns) => (ns / 1e6).toLocaleString("en", { minimumFractionDigits: 3, maximumFractionDigits: 3 }) + " ms";
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const hop = (data, seen) => {
  const [a, b] = data.nodes[seen[0]];
  return seen[1] ? [a, b] : [b, a];
};

const droppedAt = (data, number) => data.drops.find((drop) => drop.packet === number);

class PacketPanel {
  constructor(root, data) {
    this.box = root.querySelector("[data-packet]");
    this.root = root;
    this.data = data;
  }

  show(number, from = null) {
    const { data } = this;
    const packet = data.packets[number];
    const drop = droppedAt(data, number);
    const words = `${packet.title}: ${packet.from} → ${packet.to}, ${ms(packet.t)} after the run’s first packet`;
    this.fill(words, packet.layers, from);
    if (drop) this.box.append(html("p", `Dropped by ${drop.firewall}, rule ${drop.rule} (frame ${drop.frame} of dropped.pcapng).`, "differs"));
    this.box.append(this.table(packet));
    this.light(packet.way.map((seen) => data.links[seen[0]]));
  }

  showDrop(drop, from = null) {
    if (drop.packet !== null) { this.show(drop.packet, from); return; }
    this.fill(`${drop.title}, ${drop.ends}: dropped by ${drop.firewall}, rule ${drop.rule}`, drop.layers, from);
    this.box.append(html("p", `Frame ${drop.frame} of dropped.pcapng, ${ms(drop.t)} after the run’s first packet.`));
    this.light([]);
  }

  fill(words, layers, from) {
    const close = html("button", "Close");
    close.type = "button";
    close.addEventListener("click", () => { this.box.hidden = true; this.light([]); from?.focus(); });
    this.box.replaceChildren(html("h5", words), close);
    const list = html("dl");
    for (const [layer, said] of layers) {
      const line = html("div");
      line.append(html("dt", layer), layer === "SIP" ? html("pre", said) : html("dd", said));
      list.append(line);
    }
    this.box.append(list);
    this.box.hidden = false;
  }

  table(packet) {
    const { data } = this;
    const table = html("table", "", "figures");
    const head = table.createTHead().insertRow();
    for (const [name, css] of [["Link", ""], ["Way", ""], ["Since first seen", "figure"], ["Frame", "figure"], ["Addresses here", ""], ["TTL", "figure"], ["DSCP", "figure"]]) {
      const cell = html("th", name, css);
      cell.scope = "col";
      head.append(cell);
    }
    const body = table.createTBody();
    for (const seen of packet.way) {
      const row = body.insertRow();
      const link = html("th");
      link.scope = "row";
      link.append(html("code", data.links[seen[0]]));
      row.append(link, html("td", hop(data, seen).join(" → ")), html("td", ms(seen[2]), "figure"), html("td", String(seen[3]), "figure"),
        html("td", data.ends[seen[4]]), html("td", String(seen[5]), "figure"), html("td", String(seen[6]), "figure"));
    }
    const scroll = html("div", "", "scroll");
    scroll.append(table);
    return scroll;
  }

  light(links) {
    for (const wire of this.root.querySelectorAll("svg.ways .wire")) wire.classList.toggle("lit", links.includes(wire.dataset.link));
  }
}

class Ways {
  constructor(root, data, panel) {
    Object.assign(this, { root, data, panel, timer: null, step: 0, steps: [] });
    this.picture = root.querySelector("svg.ways");
    if (!this.picture) return;
    this.leg = root.querySelector("[data-choose-leg]");
    this.sources = [...root.querySelectorAll("[data-source]")].filter((one) => one instanceof HTMLButtonElement);
    this.play = root.querySelector("[data-play]");
    this.scrub = root.querySelector("[data-scrub]");
    this.told = root.querySelector("[data-told]");
    this.dot = this.picture.appendChild(make("circle", { r: 6, class: "traveller" }));
    this.leg.addEventListener("change", () => this.choose());
    for (const button of this.sources) button.addEventListener("click", () => this.choose(button.dataset.source));
    this.play.addEventListener("click", () => (this.timer ? this.pause() : this.start()));
    for (const button of root.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => { this.pause(); this.go(this.step + Number(button.dataset.step)); });
    }
    this.scrub.addEventListener("input", () => { this.pause(); this.go(Number(this.scrub.value)); });
    // By keyboard the replay and the timeline lead to the same packets.
    for (const wire of this.picture.querySelectorAll(".wire")) wire.addEventListener("click", () => this.explainLink(wire.dataset.link));
    for (const mark of this.picture.querySelectorAll("[data-dropped-at]")) this.explain(mark);
    this.choose("observed");
  }

  explain(mark) {
    const number = Number(mark.closest(".way").dataset.leg);
    const mine = new Set(this.data.legs[number].packets);
    const drops = this.data.drops.filter((drop) => drop.firewall === mark.dataset.droppedAt);
    const drop = drops.find((one) => mine.has(one.packet)) ?? drops[0];
    if (!drop) return;
    mark.setAttribute("tabindex", "0");
    mark.setAttribute("role", "button");
    mark.setAttribute("aria-label", mark.querySelector("title").textContent + ": show its headers");
    const show = () => this.panel.showDrop(drop, mark);
    mark.addEventListener("click", show);
    mark.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); show(); } });
  }

  explainLink(link) {
    const mine = this.data.legs[Number(this.leg.value)].packets;
    const number = mine.find((one) => this.data.packets[one].way.some((seen) => this.data.links[seen[0]] === link));
    if (number !== undefined) this.panel.show(number);
  }

  choose(source = this.source) {
    this.source = source;
    const number = Number(this.leg.value);
    for (const way of this.picture.querySelectorAll(".way")) {
      way.classList.toggle("shown", Number(way.dataset.leg) === number && way.dataset.source === source);
    }
    for (const button of this.sources) button.setAttribute("aria-pressed", String(button.dataset.source === source));
    this.root.querySelector("figcaption").firstChild.textContent = `${this.leg.selectedOptions[0].text}, as ${source}`;
    this.pause();
    this.steps = this.data.legs[number].packets
      .flatMap((packet) => this.data.packets[packet].way.map((seen, at) => ({ packet, seen, at, t: this.data.packets[packet].t + seen[2] })))
      .sort((one, other) => one.t - other.t);
    this.scrub.max = Math.max(0, this.steps.length - 1);
    for (const control of this.root.querySelectorAll(".replay button, .replay input")) control.disabled = !this.steps.length;
    this.dot.classList.remove("shown");
    this.step = 0;
    this.scrub.value = 0;
    this.told.textContent = this.steps.length ? `${this.data.legs[number].packets.length} packets in ${this.steps.length} steps` : "no packet was seen";
  }

  start() {
    if (this.step >= this.steps.length - 1) this.step = -1;
    this.play.textContent = "Pause";
    this.play.setAttribute("aria-pressed", "true");
    this.timer = setInterval(() => (this.step < this.steps.length - 1 ? this.go(this.step + 1) : this.pause()), 450);
    this.go(Math.max(0, this.step));
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.play.textContent = "Play";
    this.play.setAttribute("aria-pressed", "false");
  }

  go(step) {
    if (!this.steps.length) return;
    this.step = Math.min(Math.max(step, 0), this.steps.length - 1);
    this.scrub.value = this.step;
    const { packet, seen, at, t } = this.steps[this.step];
    const told = this.data.packets[packet];
    const drop = at === told.way.length - 1 ? droppedAt(this.data, packet) : null;
    const where = hop(this.data, seen).join(" → ");
    const words = `${this.step + 1} of ${this.steps.length}, ${ms(t)}: ${told.title}, frame ${seen[3]}, ${where}${drop ? `; dropped by ${drop.firewall}, rule ${drop.rule}` : ""}`;
    this.told.textContent = words;
    this.scrub.setAttribute("aria-valuetext", words);
    this.panel.light([this.data.links[seen[0]]]);
    this.move(seen, Boolean(drop));
  }

  move(seen, isDropped) {
    const line = this.picture.querySelector(`.wire[data-link="${this.data.links[seen[0]]}"] line`);
    this.dot.classList.toggle("shown", Boolean(line));
    this.dot.classList.toggle("dropped", isDropped);
    if (!line) return;
    const [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"].map((name) => Number(line.getAttribute(name)));
    const [from, to] = seen[1] ? [[x1, y1], [x2, y2]] : [[x2, y2], [x1, y1]];
    const place = (share) => {
      this.dot.setAttribute("cx", from[0] + (to[0] - from[0]) * share);
      this.dot.setAttribute("cy", from[1] + (to[1] - from[1]) * share);
    };
    cancelAnimationFrame(this.frame);
    if (calm.matches) { place(1); return; }
    const began = performance.now();
    const draw = (now) => {
      const share = Math.min(1, (now - began) / 320);
      place(share);
      if (share < 1) this.frame = requestAnimationFrame(draw);
    };
    place(0);
    this.frame = requestAnimationFrame(draw);
  }
}

const saveSvg = (button) => {
  const picture = button.closest("details").querySelector("svg").cloneNode(true);
  const colours = getComputedStyle(document.documentElement);
  const rules = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]).map((rule) => rule.cssText)
    .filter((rule) => /^\.(ladder|glyph|mark|strand|head|count|name)/.test(rule)).join("\n");
  const style = make("style", {}, rules.replace(/var\((--[a-z-]+)\)/g, (whole, name) => colours.getPropertyValue(name).trim() || whole));
  picture.prepend(style);
  picture.style.background = colours.getPropertyValue("--paper").trim();
  const address = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(picture)], { type: "image/svg+xml" }));
  const link = Object.assign(html("a"), { href: address, download: button.dataset.save });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
  return picture;
};

const tell = async (root) => {
  if (root.dataset.state) return;
  root.dataset.state = "unpacking";
  const data = JSON.parse(await inflate(root.querySelector("[data-packed]").textContent));
  const panel = new PacketPanel(root, data);
  new Ways(root, data, panel);
  new Timeline(root, data, panel);
  await drawCharts(root, data);
  root.dataset.state = "done";
};
// Opening all scenarios at once must not draw all at once: each part is drawn when it is near what is looked at.
const drawPart = (part) => ("boxes" in part.dataset ? drawBoxes(part) : tell(part));
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) drawPart(entry.target);
}, { rootMargin: "600px" });
for (const boxes of document.querySelectorAll("[data-boxes]")) near.observe(boxes);
for (const root of document.querySelectorAll("[data-story]")) {
  near.observe(root);
  for (const button of root.querySelectorAll("[data-save]")) button.addEventListener("click", () => saveSvg(button));
}
