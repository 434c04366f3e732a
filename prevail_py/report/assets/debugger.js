// The abstract debugger: `at` is the moment that is looked at, and everything follows.

const text = (number) => DATA.strings[number];
const program = { code: DATA.code, indexOf: new Map(DATA.code.map(([pc], index) => [pc, index])), text };
const linesOf = decoder(DATA.states, DATA.strings);
const blockAt = new Map();
DATA.functions.forEach((fn, f) => fn.blocks.forEach(([start], b) => blockAt.set(start, [f, b])));
const last = DATA.moments.length - 1;
let at = 0;
let fn = -1;
let timer = 0;
let status = new Map(); // by block: how far it got until now

const SAYS = {
  enter: ["enters", "the block is executed in this state; its loop is not solved yet."],
  final: ["enters for good", "this is the invariant: the block is executed in it for the last time."],
  join: ["joins", "what came back is joined with what the head had: the result covers both."],
  widen: ["widens", "what came back does not fit, again: bounds that moved jump to the next threshold."],
  covered: ["is covered", "what came back adds nothing: the head is stable, and its states are an invariant."],
  descend: ["descends", "the states are computed anew from all edges, without widening: some bounds are won back."],
  stable: ["is stable", "computed anew the states are no smaller: the descent ends."],
};

const graph = new Graph(byId("graph"), {
  lines(index, width) {
    const [start, end] = DATA.functions[fn].blocks[index];
    return blockText(program, DATA.metrics, start, end, width, () => "");
  },
  classes(index) {
    const [start] = DATA.functions[fn].blocks[index];
    return `${status.get(start) || "unseen"}${start === DATA.moments[at][1] ? " chosen" : ""}`;
  },
  chosen(index) {
    const [start] = DATA.functions[fn].blocks[index];
    const next = DATA.moments.findIndex((moment, number) => number > at && moment[1] === start);
    const any = next >= 0 ? next : DATA.moments.findIndex((moment) => moment[1] === start);
    if (any >= 0) show(any);
  },
});

/** A line without the names of symbols, which change at every join. */
const nameless = (line) => line.replace(/\b[sn]\d+/g, "s");

function column(title, states, old) {
  const body = states.length
    ? states.map((state, number) => {
        const before = old && old.length ? new Set(old.flatMap((each) => linesOf(each).map(nameless))) : null;
        const lines = linesOf(state);
        const table = stateTable(lines, null, title);
        if (before) [...table.rows].forEach((row, each) => before.has(nameless(lines[each])) || row.classList.add("changed"));
        return make("div", {}, states.length > 1 ? make("p", { class: "soft" }, `state ${number + 1} of ${states.length}`) : null, table);
      })
    : [make("p", { class: "soft" }, "nothing: not reached")];
  return make("div", {}, make("h3", {}, title), ...body);
}

function show(number) {
  at = Math.max(0, Math.min(last, number));
  const [calls, pc, how, after, before, arriving] = DATA.moments[at];
  status = new Map();
  for (let each = 0; each <= at; each++) {
    const [, where, what] = DATA.moments[each];
    status.set(where, what === "final" || what === "stable" ? "done" : "seen");
  }
  const place = blockAt.get(pc);
  if (place) {
    if (fn !== place[0]) {
      fn = place[0];
      graph.show(DATA.functions[fn]);
    }
    graph.reveal(place[1]);
    graph.repaint();
  }
  const [verb, meaning] = SAYS[how];
  const where = DATA.calls[calls].length ? `, called from slot ${DATA.calls[calls].join(", ")}` : "";
  byId("what").className = how;
  byId("what").replaceChildren(`The ${before.length || arriving.length ? "head of the loop" : "block"} at slot ${pc}${where} `, make("strong", {}, verb), `: ${meaning}`);
  const looked = !["enter", "final"].includes(how);
  byId("states").replaceChildren(
    make(
      "div",
      { class: "columns" },
      ...(looked ? [column("it had", before), column("arriving", arriving)] : []),
      column(looked ? "it has now" : "in the state", after, looked ? before : null),
    ),
  );
  showHistory(calls, pc);
  byId("count").textContent = `${at + 1} of ${last + 1}${DATA.total > last + 1 ? ` (${DATA.total} in all)` : ""}`;
  byId("range").value = String(at);
  for (const [id, off] of [["first", at === 0], ["back", at === 0], ["on", at === last], ["last", at === last]]) byId(id).disabled = off;
  strip();
}

/** One column for each moment of the block until now, one row for each place that changed on the way. */
function showHistory(calls, pc) {
  const moments = [];
  for (let each = 0; each <= at; each++) {
    const [where, slot, how, after] = DATA.moments[each];
    if (where !== calls || slot !== pc) continue;
    const previous = moments[moments.length - 1];
    if (previous && (how === "enter" || how === "final") && String(previous.after) === String(after)) continue;
    moments.push({ number: each, how, after });
  }
  const columns = moments.slice(-9);
  const values = columns.map(({ after }) => {
    const found = new Map();
    after.forEach((state) => {
      for (const line of linesOf(state)) {
        const split = line.indexOf(" = ");
        if (split < 0) continue;
        const value = line.slice(split + 3).replace(/\(s\d+(?:[+-]\d+)? in (\[[^\]]*\])\)/g, "$1").replace(/\bs\d+(?:[+-]\d+)? in /g, "").replace(/\bs\d+/g, "any");
        const name = line.slice(0, split);
        if (!found.has(name)) found.set(name, []);
        if (!found.get(name).includes(value)) found.get(name).push(value);
      }
    });
    return found;
  });
  const places = [...new Set(values.flatMap((found) => [...found.keys()]))];
  const cell = (found, place) => (found.get(place) || ["–"]).join(" | ");
  const changing = places.filter((place) => new Set(values.map((found) => cell(found, place))).size > 1);
  const head = make("tr", {}, make("th", {}, ""), ...columns.map(({ number, how }) => make("th", { class: `${how}${number === at ? " now" : ""}`, scope: "col" }, make("button", { type: "button", title: `moment ${number + 1}`, click: () => show(number) }, how))));
  const rows = changing.map((place) =>
    make("tr", {}, make("th", { scope: "row" }, place), ...values.map((found, each) => make("td", { class: each > 0 && cell(found, place) !== cell(values[each - 1], place) ? "new" : "" }, ...coloured(cell(found, place))))),
  );
  byId("history").replaceChildren(
    changing.length
      ? make("div", { class: "scroll" }, make("table", { class: "history" }, make("thead", {}, head), make("tbody", {}, ...rows)))
      : make("p", { class: "soft" }, columns.length > 1 ? "Nothing has changed." : "This is the first time."),
  );
}

/** All moments as a strip of colours. */
function strip() {
  const canvas = byId("strip");
  const wide = (canvas.width = Math.max(1, canvas.clientWidth * devicePixelRatio));
  const context = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const colour = { join: style.getPropertyValue("--accent"), widen: "#d9730d", descend: style.getPropertyValue("--good"), stable: style.getPropertyValue("--good"), final: style.getPropertyValue("--line"), enter: style.getPropertyValue("--line"), covered: style.getPropertyValue("--faint") };
  const each = wide / (last + 1);
  DATA.moments.forEach(([, , how], number) => {
    context.fillStyle = colour[how];
    context.fillRect(number * each, 0, Math.max(each - (each > 4 ? 1 : 0), 1), 14);
  });
  context.fillStyle = style.getPropertyValue("--ink");
  context.fillRect(at * each + each / 2 - devicePixelRatio, 0, 2 * devicePixelRatio, 14);
}

function play() {
  if (timer) {
    clearInterval(timer);
    timer = 0;
  } else {
    if (at === last) show(0);
    timer = setInterval(() => (at === last ? play() : show(at + 1)), 700);
  }
  byId("play").textContent = timer ? "Stop" : "Play";
}

function nextLoop() {
  const next = DATA.moments.findIndex(([, , how], number) => number > at && how !== "enter" && how !== "final");
  if (next >= 0) show(next);
}

const KEYS = {
  j: () => show(at + 1), ArrowRight: () => show(at + 1), k: () => show(at - 1), ArrowLeft: () => show(at - 1),
  g: () => show(0), G: () => show(last), n: nextLoop, " ": play, t: () => theme.toggle(), "+": () => graph.zoom(1.25), "-": () => graph.zoom(0.8), f: () => graph.fit(),
};
document.addEventListener("keydown", (event) => {
  const pressed = event.key === " " && event.target.matches("button");
  if (isTyping(event) || event.target.matches("input[type=range]") || pressed || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});
byId("first").addEventListener("click", () => show(0));
byId("back").addEventListener("click", () => show(at - 1));
byId("on").addEventListener("click", () => show(at + 1));
byId("last").addEventListener("click", () => show(last));
byId("play").addEventListener("click", play);
byId("next-loop").addEventListener("click", nextLoop);
byId("range").addEventListener("input", () => show(Number(byId("range").value)));
byId("theme").addEventListener("click", () => theme.toggle());
new MutationObserver(strip).observe(document.documentElement, { attributeFilter: ["data-theme"] });
new ResizeObserver(strip).observe(byId("strip"));

byId("title").textContent = DATA.name;
byId("facts").textContent = [DATA.type, `${DATA.steps} abstract steps`, DATA.ending && `ended by ${DATA.ending}`].filter(Boolean).join("  ·  ");
byId("range").max = String(Math.max(last, 0));
if (last < 0) byId("what").textContent = "Nothing happened.";
else show(0);
