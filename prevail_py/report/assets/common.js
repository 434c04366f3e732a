"use strict";
// What the pages share.  Texts come from object files, which anybody may have written: they are only ever set as text.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

/** The element with this id. */
function byId(id) {
  return document.getElementById(id);
}

/** An HTML element: attributes (functions become listeners of that event), then children or texts. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (typeof value === "boolean" && name.startsWith("aria-")) element.setAttribute(name, String(value));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** An SVG element, likewise. */
function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

const TOKENS = /(\b[rw](?:10|[0-9])\b)|((?<![\w])-?(?:0x[0-9a-f]+|\d+)\b)|(\b(?:if|goto|call|exit|ll|lock|local|map|may_goto)\b|\b[us](?:8|16|32|64)(?= \*\)))/g;

/** The text of an instruction, its registers, numbers and words told apart. */
function coloured(text, where = "span") {
  const svg = where === "tspan";
  const piece = (kind, part) => (svg ? draw("tspan", { class: kind }, part) : make("span", { class: kind }, part));
  const out = [];
  let last = 0;
  for (const match of text.matchAll(TOKENS)) {
    if (match.index > last) out.push(text.slice(last, match.index));
    out.push(piece(match[1] ? "register" : match[2] ? "number" : "word", match[0]));
    last = match.index + match[0].length;
  }
  if (last < text.length) out.push(text.slice(last));
  return out;
}

/** A list of many rows of one height, of which only those in sight are in the document. */
class Rows {
  constructor(host, height, row) {
    this.host = host;
    this.height = height;
    this.row = row;
    this.count = 0;
    this.window = make("div", { class: "window", role: "presentation" });
    this.stretch = make("div", { class: "stretch", role: "presentation" }, this.window);
    host.classList.add("rows");
    host.replaceChildren(this.stretch);
    this.pending = false;
    host.addEventListener("scroll", () => this.later(), { passive: true });
    new ResizeObserver(() => this.later()).observe(host);
  }

  /** Show so many rows, from the first on. */
  reset(count) {
    this.count = count;
    this.stretch.style.height = `${count * this.height}px`;
    this.host.scrollTop = 0;
    this.refresh();
  }

  later() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.refresh();
    });
  }

  /** Make the rows in sight anew. */
  refresh() {
    const tall = this.host.clientHeight || 600;
    const first = Math.max(0, Math.floor(this.host.scrollTop / this.height) - 12);
    const last = Math.min(this.count, Math.ceil((this.host.scrollTop + tall) / this.height) + 12);
    this.window.style.top = `${first * this.height}px`;
    const made = [];
    for (let index = first; index < last; index++) made.push(this.row(index));
    this.window.replaceChildren(...made);
  }

  /** Scroll as little as it takes to see a row with some of its surroundings. */
  reveal(index) {
    const top = index * this.height;
    const tall = this.host.clientHeight;
    const margin = Math.min(3 * this.height, tall / 4);
    if (top < this.host.scrollTop + margin) this.host.scrollTop = Math.max(0, top - Math.max(margin, tall / 3));
    else if (top + this.height > this.host.scrollTop + tall - margin) this.host.scrollTop = top - (tall * 2) / 3;
    this.refresh();
  }
}

/** The lines of state number `number`: a state is stored as what differs from another one. */
function decoder(states, strings) {
  const known = new Map();
  return (number) => {
    const chain = [];
    let at = number;
    while (at >= 0 && !known.has(at)) {
      chain.push(at);
      at = states[at][0];
    }
    while (chain.length) {
      const now = chain.pop();
      const [like, start, end, middle] = states[now];
      const texts = middle.map((line) => strings[line]);
      const old = like < 0 ? [] : known.get(like);
      known.set(now, like < 0 ? texts : [...old.slice(0, start), ...texts, ...old.slice(old.length - end)]);
    }
    return known.get(number);
  };
}

/** A state as rows of place and value; lines that are not in `old` are marked. */
function stateTable(lines, old, describe) {
  const before = old ? new Set(old) : null;
  const body = make("tbody");
  for (const line of lines) {
    const split = line.indexOf(" = ");
    const relation = split < 0;
    const row = make(
      "tr",
      { class: before && !before.has(line) ? "changed" : null },
      make("th", { scope: "row" }, relation ? "" : line.slice(0, split)),
      make("td", {}, ...coloured(relation ? line : line.slice(split + 3))),
    );
    body.append(row);
  }
  return make("table", { class: "state", "aria-label": describe }, body);
}

/** Light or dark: what the reader chose here before, or else what the system prefers. */
const theme = {
  /** Storage is refused to pages in some frames; then a choice lasts as long as the page. */
  stored() {
    try {
      return localStorage.getItem("prevail-py-theme");
    } catch (error) {
      return null;
    }
  },
  set(name, keep) {
    document.documentElement.dataset.theme = name;
    if (keep) {
      try {
        localStorage.setItem("prevail-py-theme", name);
      } catch (error) {
        console.info("the theme is not remembered:", error.message);
      }
    }
  },
  toggle() {
    theme.set(document.documentElement.dataset.theme === "dark" ? "light" : "dark", true);
  },
  start() {
    const system = matchMedia("(prefers-color-scheme: dark)");
    const follow = () => theme.set(theme.stored() || (system.matches ? "dark" : "light"), false);
    system.addEventListener("change", follow);
    follow();
  },
};
theme.start();

/** Whether a key was meant for what has the focus, not for the page. */
function isTyping(event) {
  const where = event.target;
  const edits = where.matches("input:not([type=range]), select, textarea");
  return edits || event.ctrlKey || event.metaKey || event.altKey;
}

/** The instructions of a block of the graph as SVG; `kindOf` gives the class of the line of a slot. */
function blockText(program, metrics, start, end, width, kindOf) {
  const first = program.indexOf.get(start);
  let last = first;
  while (last < program.code.length && program.code[last][0] < end) last++;
  const digits = String(program.code[last - 1][0]).length;
  const left = metrics.padding + (digits + 1) * metrics.character;
  const out = [];
  for (let each = first; each < last; each++) {
    const y = metrics.padding + (each - first) * metrics.line + 9;
    if (each - first === metrics.lines) {
      out.push(draw("text", { class: "comment", x: left, y }, `… ${last - each} more`));
      break;
    }
    const [pc, words, comment] = program.code[each];
    const line = draw("text", { x: left + metrics.character, y, "xml:space": "preserve", "pointer-events": "none" }, ...coloured(program.text(words), "tspan"));
    const about = program.text(comment);
    if (about) line.append(draw("tspan", { class: "comment" }, `  ; ${about}`));
    out.push(
      draw("rect", { class: `line ${kindOf(pc)}`, x: 3, y: y - 11, width: width - 6, height: metrics.line, rx: 3, "data-slot": pc }),
      draw("text", { class: "at", x: left, y, "text-anchor": "end", "pointer-events": "none" }, `${pc}:`),
      line,
    );
  }
  return out;
}

/** A control-flow graph that can be moved and zoomed; what is out of sight is not in the document. */
class Graph {
  constructor(host, handlers) {
    this.host = host;
    this.handlers = handlers; // lines(block), classes(block), chosen(block)
    this.marker = `${host.id}-tip`;
    const markers = ["flow", "taken", "not-taken", "back"].map((kind) =>
      draw(
        "marker",
        { id: `${this.marker}-${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
        draw("path", { d: "M0 0.5L8 4L0 7.5z", class: `tip ${kind}` }),
      ),
    );
    this.loops = draw("g");
    this.edges = draw("g");
    this.blocks = draw("g");
    this.world = draw("g", { class: "world" }, this.loops, this.edges, this.blocks);
    this.svg = draw("svg", { class: "graph", role: "group", "aria-label": "control-flow graph" }, draw("defs", {}, ...markers), this.world);
    host.replaceChildren(this.svg);
    this.view = { x: 0, y: 0, scale: 1 };
    this.shown = new Map();
    this.pending = false;
    this.listen();
    new ResizeObserver(() => this.later()).observe(host);
  }

  /** Show a function: `blocks` as [start, end, x, y, width, height], `edges`, `loops`, `size`. */
  show(graph) {
    this.graph = graph;
    this.shown.clear();
    this.blocks.replaceChildren();
    this.loops.replaceChildren(
      ...graph.loops.map(([depth, x, y, width, height]) =>
        draw("rect", { class: "loop", x, y, width, height, rx: 9, "data-depth": depth }),
      ),
    );
    this.lines = graph.edges.map(([source, target, kind, path, condition]) => {
      const line = draw("path", { class: `edge ${kind}`, d: path, "marker-end": `url(#${this.marker}-${kind})` });
      if (condition) line.append(draw("title", {}, condition));
      return line;
    });
    this.edges.replaceChildren(...this.lines);
    this.fit(true);
  }

  listen() {
    let from = null;
    this.host.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      from = { x: event.clientX - this.view.x, y: event.clientY - this.view.y, moved: false, id: event.pointerId };
    });
    this.host.addEventListener("pointermove", (event) => {
      if (!from) return;
      const x = event.clientX - from.x;
      const y = event.clientY - from.y;
      if (!from.moved && Math.abs(x - this.view.x) + Math.abs(y - this.view.y) < 4) return;
      if (!from.moved) this.host.setPointerCapture(from.id);
      from.moved = true;
      this.view.x = x;
      this.view.y = y;
      this.apply();
    });
    const end = () => {
      if (from && from.moved) this.host.addEventListener("click", (event) => event.stopPropagation(), { capture: true, once: true });
      from = null;
    };
    this.host.addEventListener("pointerup", end);
    this.host.addEventListener("pointercancel", end);
    this.host.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const box = this.host.getBoundingClientRect();
        this.zoom(Math.exp(-event.deltaY * 0.0016), event.clientX - box.left, event.clientY - box.top);
      },
      { passive: false },
    );
  }

  zoom(factor, x = this.host.clientWidth / 2, y = this.host.clientHeight / 2) {
    const scale = Math.min(3, Math.max(0.02, this.view.scale * factor));
    const by = scale / this.view.scale;
    this.view = { x: x - (x - this.view.x) * by, y: y - (y - this.view.y) * by, scale };
    this.apply();
  }

  /** Make the whole graph visible; at the beginning, its top at a size that can be read. */
  fit(readable = false) {
    const [width, height] = this.graph.size;
    const wide = this.host.clientWidth || 600;
    const tall = this.host.clientHeight || 400;
    let scale = Math.min(1.15, wide / width, tall / height);
    if (readable) scale = Math.max(scale, Math.min(0.9, Math.max(0.66, wide / width)));
    const [, , x, , w] = this.graph.blocks[0];
    const centred = width * scale <= wide ? (wide - width * scale) / 2 : wide / 2 - (x + w / 2) * scale;
    this.view = { x: centred, y: height * scale <= tall ? (tall - height * scale) / 2 : 4, scale };
    this.apply();
  }

  /** Bring a block into sight; `at` is how far down in it, in pixels of the graph. */
  reveal(index, at = 0) {
    const [, , x, y, width] = this.graph.blocks[index];
    const { scale } = this.view;
    const wide = this.host.clientWidth;
    const tall = this.host.clientHeight;
    const left = x * scale + this.view.x;
    const top = (y + at) * scale + this.view.y;
    const fits = width * scale < wide - 16;
    if (left < 4 || (fits ? left + width * scale > wide - 8 : left > wide / 2)) {
      this.view.x = fits ? wide / 2 - (x + width / 2) * scale : 12 - x * scale;
    }
    if (top < 4 || top > tall - 48) this.view.y = tall / 3 - (y + at) * scale;
    this.apply();
  }

  apply() {
    const { x, y, scale } = this.view;
    this.world.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)}) scale(${scale.toFixed(4)})`);
    this.later();
  }

  later() {
    if (this.pending || !this.graph) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.populate();
    });
  }

  /** Have the blocks in sight in the document, with their text where it can be read. */
  populate() {
    const { x, y, scale } = this.view;
    const text = scale > 0.22;
    const left = (-x - 80) / scale;
    const right = (this.host.clientWidth - x + 80) / scale;
    const top = (-y - 80) / scale;
    const bottom = (this.host.clientHeight - y + 80) / scale;
    const seen = new Set();
    this.graph.blocks.forEach(([, , bx, by, width, height], index) => {
      if (bx > right || bx + width < left || by > bottom || by + height < top) return;
      seen.add(index);
      const old = this.shown.get(index);
      if (old && old.text === text) return;
      if (old) old.element.remove();
      const element = this.block(index, text);
      this.shown.set(index, { element, text });
      this.blocks.append(element);
    });
    for (const [index, { element }] of this.shown) {
      if (!seen.has(index)) {
        element.remove();
        this.shown.delete(index);
      }
    }
  }

  block(index, text) {
    const [start, , x, y, width, height] = this.graph.blocks[index];
    const group = draw("g", { transform: `translate(${x} ${y})`, "data-block": index });
    group.append(draw("rect", { class: "frame", width, height, rx: 5 }));
    if (text) group.append(...this.handlers.lines(index, width));
    group.append(draw("title", {}, `block at slot ${start}`));
    group.addEventListener("click", (event) => this.handlers.chosen(index, event));
    group.setAttribute("class", `block ${this.handlers.classes(index)}`);
    return group;
  }

  /** Make the blocks in sight anew, after what is said of them has changed. */
  repaint() {
    for (const { element } of this.shown.values()) element.remove();
    this.shown.clear();
    if (this.graph) this.populate();
  }
}
