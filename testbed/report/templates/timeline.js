// Lanes over time: a row for each node that sent, a sign for each packet drawn.
const TIMELINE_LANES = [["signaling", "SIP"], ["checks", "ICE, TURN, DTLS"], ["media", "RTP, RTCP, data"], ["dropped", "Dropped"], ["routes", "Routes (BGP)"]];
const TL = { left: 132, width: 1020, row: 18, lane: 22, axis: 30 };

class Timeline {
  constructor(root, data, panel) {
    Object.assign(this, { data, panel });
    this.place = root.querySelector("[data-timeline]");
    this.rows = this.arrange();
    for (const button of root.querySelectorAll("[data-span]")) {
      button.addEventListener("click", () => {
        for (const other of root.querySelectorAll("[data-span]")) other.setAttribute("aria-pressed", String(other === button));
        this.draw(button.dataset.span);
      });
    }
    this.draw("all");
  }

  arrange() {
    const { data } = this;
    const marks = data.packets.map((packet, number) => ({
      lane: packet.lane, who: packet.from, t: packet.t, dropped: Boolean(droppedAt(data, number)),
      words: `${packet.title}, ${packet.from} to ${packet.to}`, show: (from) => this.panel.show(number, from),
    }));
    marks.push(...data.drops.map((drop) => ({
      lane: "dropped", who: drop.firewall, t: drop.t, dropped: true,
      words: `${drop.title}, dropped by ${drop.firewall}, rule ${drop.rule}`, show: (from) => this.panel.showDrop(drop, from),
    })));
    marks.push(...data.routes.map((route) => ({
      lane: "routes", who: "", t: route.t, dropped: route.title.includes("withdraws"),
      words: `${route.from} to ${route.to}: ${route.title}`,
      show: (from) => { this.panel.fill(`${route.from} → ${route.to}: ${route.title}`, [["BGP", `frame ${route.frame} on ${route.link}, ${ms(route.t)}`]], from); this.panel.light([route.link]); },
    })));
    const rows = [];
    for (const [lane, title] of TIMELINE_LANES) {
      const mine = marks.filter((mark) => mark.lane === lane).sort((one, other) => one.t - other.t);
      const who = [...new Set(mine.map((mark) => mark.who))];
      rows.push({ title, lane, marks: [] }, ...who.map((name) => ({ name, lane, marks: mine.filter((mark) => mark.who === name) })));
      if (!who.length) rows.push({ name: "none", lane, marks: [] });
    }
    return rows;
  }

  span(which) {
    const { data } = this;
    const times = (lane) => data.packets.filter((packet) => packet.lane === lane).map((packet) => packet.t);
    const media = times("media"), early = [...times("signaling"), ...times("checks")];
    const last = Math.max(0, ...data.packets.map((packet) => packet.t), ...data.drops.map((drop) => drop.t), ...data.routes.map((route) => route.t));
    if (which === "setup" && early.length) return [Math.min(...early), media.length ? Math.min(...media) + 5e7 : last];
    if (which === "media" && media.length) return [Math.min(...media), Math.max(...media)];
    return [0, last];
  }

  draw(which) {
    const [first, last] = this.span(which);
    const scale = (t) => TL.left + 8 + ((t - first) / Math.max(1, last - first)) * (TL.width - TL.left - 24);
    const height = TL.axis + this.rows.reduce((sum, row) => sum + (row.title ? TL.lane : TL.row), 0) + 8;
    const picture = make("svg", { class: "lanes", width: TL.width, height, viewBox: `0 0 ${TL.width} ${height}`, role: "group", "aria-label": "Packets by lane and time; arrow keys move, Enter shows a packet" });
    this.axis(picture, scale, first, last, height);
    let y = TL.axis;
    this.signs = [];
    for (const row of this.rows) {
      if (row.title) {
        picture.append(make("text", { x: 0, y: y + 16, class: "lane-title" }, row.title));
        y += TL.lane;
        continue;
      }
      const middle = y + TL.row / 2;
      picture.append(make("text", { x: 8, y: middle + 4, class: "row-name" }, row.name));
      picture.append(make("line", { x1: TL.left, x2: TL.width - 8, y1: middle, y2: middle, class: "row-line" }));
      const shown = row.marks.filter((mark) => mark.t >= first && mark.t <= last);
      if (shown.length) this.signs.push(shown.map((mark) => picture.appendChild(this.sign(mark, row.lane, scale(mark.t), middle))));
      y += TL.row;
    }
    this.signs[0]?.[0]?.setAttribute("tabindex", "0");
    picture.addEventListener("keydown", (event) => this.key(event));
    this.place.replaceChildren(picture);
  }

  axis(picture, scale, first, last, height) {
    const wide = Math.max(1, last - first);
    const step = [1, 2, 5].flatMap((digit) => [4, 5, 6, 7, 8, 9, 10, 11].map((power) => digit * 10 ** power)).sort((a, b) => a - b).find((size) => wide / size <= 10);
    for (let t = Math.ceil(first / step) * step; t <= last; t += step) {
      const x = scale(t);
      picture.append(make("line", { x1: x, x2: x, y1: 22, y2: height - 4, class: "grid" }));
      picture.append(make("text", { x, y: 14, class: "tick" }, step >= 1e8 ? `${(t / 1e9).toFixed(step >= 1e9 ? 0 : 1)} s` : `${Math.round(t / 1e6)} ms`));
    }
  }

  sign(mark, lane, x, y) {
    const sign = mark.dropped
      ? make("path", { d: `M${x - 4},${y - 4} l8,8 m0,-8 l-8,8`, class: `sign lost ${lane}` })
      : make("circle", { cx: x, cy: y, r: 3.6, class: `sign ${lane}` });
    for (const [name, value] of [["tabindex", "-1"], ["role", "button"], ["aria-label", `${ms(mark.t)}: ${mark.words}`]]) sign.setAttribute(name, value);
    sign.append(make("title", {}, `${ms(mark.t)}: ${mark.words}`));
    sign.mark = mark;
    sign.addEventListener("click", () => mark.show(sign));
    return sign;
  }

  key(event) {
    const sign = event.target;
    const row = this.signs.findIndex((signs) => signs.includes(sign));
    if (row < 0) return;
    const at = this.signs[row].indexOf(sign);
    const beside = (signs) => signs?.reduce((best, one) => (Math.abs(one.mark.t - sign.mark.t) < Math.abs(best.mark.t - sign.mark.t) ? one : best));
    const next = { ArrowRight: this.signs[row][at + 1], ArrowLeft: this.signs[row][at - 1], ArrowDown: beside(this.signs[row + 1]), ArrowUp: beside(this.signs[row - 1]), Home: this.signs[row][0], End: this.signs[row].at(-1) }[event.key];
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sign.mark.show(sign); return; }
    if (!next) return;
    event.preventDefault();
    sign.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }
}
