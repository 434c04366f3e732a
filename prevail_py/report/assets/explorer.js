// The explorer.  One object `now` says what is looked at; `choose` changes it and every pane follows.

const METRICS = DATA.metrics;
const TABS = [
  ["state", "State"],
  ["failures", "Failures"],
  ["witness", "Witness"],
  ["proved", "Proved"],
  ["kernel", "Kernel"],
];
const now = { program: null, index: 0, context: 0, state: 0, failure: -1, step: -1, tab: "state", query: "" };
const P = () => now.program;
const pcNow = () => P().code[now.index][0];

/** Everything that is looked up, worked out once per program. */
function prepare(raw) {
  const text = (number) => raw.strings[number];
  const program = { ...raw, text, lines: decoder(raw.states, raw.strings) };
  program.indexOf = new Map(raw.code.map(([pc], index) => [pc, index]));
  program.blockAt = new Map(); // slot: [function, block]
  program.heads = new Set();
  raw.functions.forEach((fn, f) => {
    fn.heads.forEach((head) => program.heads.add(head));
    fn.blocks.forEach(([start, end], b) => {
      for (let pc = start; pc < end; pc++) if (program.indexOf.has(pc)) program.blockAt.set(pc, [f, b]);
    });
  });
  program.failing = new Set(raw.failures.map((failure) => failure.pc));
  program.failureOrder = [...raw.failures.keys()].sort((a, b) => raw.failures[a].pc - raw.failures[b].pc);
  program.proved = new Set(raw.discharged.map((each) => each.pc));
  program.source = sourceRows(program);
  program.rowOfPlace = new Map(program.source.flatMap((row, index) => (row.place === undefined ? [] : [[row.place, index]])));
  program.ofPlace = new Map();
  raw.code.forEach(([, , , place], index) => {
    if (!program.ofPlace.has(place)) program.ofPlace.set(place, []);
    program.ofPlace.get(place).push(index);
  });
  program.haystack = null;
  program.logAt = new Map();
  if (raw.kernel) {
    raw.kernel.log.forEach((line, index) => {
      const match = /^\s*(\d+): [(R]/.exec(line);
      if (!match || /^\s*\d+: [0-9.]{10,} /.test(line)) return;
      const pc = Number(match[1]);
      if (!program.logAt.has(pc)) program.logAt.set(pc, []);
      program.logAt.get(pc).push(index);
    });
  }
  return program;
}

/** The source lines, by file; those without instructions, which a page of whole files has, are of no place. */
function sourceRows(program) {
  const files = new Map();
  program.places.forEach(([file, line, words], place) => {
    if (!files.has(file)) files.set(file, []);
    files.get(file).push({ place, line, words: program.text(words) });
  });
  program.unplaced.forEach(([file, line, words]) => files.get(file).push({ line, words: program.text(words) }));
  const rows = [];
  for (const [file, lines] of files) {
    rows.push({ file: program.text(file) });
    rows.push(...lines.sort((a, b) => a.line - b.line || a.place - b.place));
  }
  return rows;
}

// Panes --------------------------------------------------------------------------------------------------------------

const sourceRowsView = new Rows(byId("source"), 22, (index) => {
  const row = P().source[index];
  if (row.file !== undefined) return make("div", { class: "row file", role: "presentation" }, row.file);
  const hit = now.query && row.words.toLowerCase().includes(now.query);
  const columns = [
    make("span", { class: "at", style: `width:${widthOf("line")}` }, row.line || ""),
    make("span", { class: "text" }, row.words.trimEnd()),
  ];
  if (row.place === undefined) return make("div", { class: `row unplaced${hit ? " hit" : ""}`, role: "presentation" }, ...columns);
  const chosen = row.place === P().code[now.index][3];
  const slice = sliceHas((P().ofPlace.get(row.place) || []).map((each) => P().code[each][0]));
  return make(
    "div",
    {
      class: `row${chosen ? " chosen" : ""}${slice ? " slice" : ""}${hit ? " hit" : ""}`,
      role: "option",
      id: `source-${row.place}`,
      "aria-selected": chosen,
      click: () => chooseSource(row.place),
    },
    ...columns,
  );
});

const codeRows = new Rows(byId("code"), 22, (index) => {
  const [pc, words, comment] = P().code[index];
  const chosen = index === now.index;
  const sign = P().failing.has(pc) ? ["●", "bad", "not proved"] : P().proved.has(pc) ? ["✓", "good", "proved by the solver"] : P().heads.has(pc) ? ["↻", "loop", "head of a loop"] : null;
  const about = P().text(comment);
  const classes = ["row"];
  if (chosen) classes.push("chosen");
  if (sliceHas([pc])) classes.push("slice");
  if (!P().blockAt.has(pc)) classes.push("unreached");
  if (now.query && found().includes(index)) classes.push("hit");
  return make(
    "div",
    {
      class: classes.join(" "),
      role: "option",
      id: `slot-${pc}`,
      "aria-selected": chosen,
      "aria-posinset": index + 1,
      "aria-setsize": P().code.length,
      click: () => choose({ index }),
    },
    make("span", { class: "sign dot " + (sign ? sign[1] : ""), title: sign ? sign[2] : null }, sign ? sign[0] : ""),
    make("span", { class: "at", style: `width:${widthOf("slot")}` }, pc),
    make("span", { class: "text" }, ...coloured(P().text(words))),
    about ? make("span", { class: "comment" }, `  ; ${about}`) : null,
  );
});

function widthOf(what) {
  const most = what === "slot" ? P().code[P().code.length - 1][0] : P().source.reduce((most, row) => Math.max(most, row.line || 0), 0);
  return `calc(${String(most).length}ch + 12px)`;
}

const graph = new Graph(byId("graph"), {
  lines(index, width) {
    const [start, end] = P().functions[now.fn].blocks[index];
    return blockText(P(), METRICS, start, end, width, (pc) =>
      pc === pcNow() ? "chosen" : P().failing.has(pc) ? "bad" : sliceHas([pc]) ? "slice" : "",
    );
  },
  classes(index) {
    const [start, end] = P().functions[now.fn].blocks[index];
    const pc = pcNow();
    const fails = P().failures.some((failure) => failure.pc >= start && failure.pc < end);
    return `${pc >= start && pc < end ? "chosen" : ""}${fails ? " bad" : ""}`;
  },
  chosen(index, event) {
    const slot = event.target.dataset.slot;
    choose({ index: P().indexOf.get(slot === undefined ? P().functions[now.fn].blocks[index][0] : Number(slot)), from: "graph" });
  },
});

function showFunction(number) {
  if (now.fn === number && graph.graph === P().functions[number]) return false;
  now.fn = number;
  byId("function").value = String(number);
  graph.show(P().functions[number]);
  return true;
}

// Choosing -----------------------------------------------------------------------------------------------------------

function sliceHas(pcs) {
  return now.failure >= 0 && pcs.some((pc) => now.slice.has(pc));
}

/** Look at another instruction, failure or tab; `from` is the pane that need not scroll. */
function choose({ index = now.index, failure = now.failure, tab = now.tab, context = null, state = null, step = null, from = "" }) {
  const moved = index !== now.index;
  now.index = index;
  now.tab = tab;
  if (failure !== now.failure) {
    now.failure = failure;
    now.slice = new Set(failure < 0 ? [] : P().failures[failure].slice.map(([pc]) => pc));
  }
  if (step !== null) now.step = step;
  const pc = pcNow();
  if (context !== null) now.context = context;
  else if (!P().contexts[now.context]?.at[pc]) {
    const other = P().contexts.findIndex((each) => each.at[pc]);
    if (other >= 0) now.context = other;
  }
  if (state !== null) now.state = state;
  else if (moved) now.state = Math.min(now.state, Math.max(0, (P().contexts[now.context]?.at[pc]?.length || 1) - 1));
  if (from !== "code") codeRows.reveal(index);
  else codeRows.refresh();
  byId("code").setAttribute("aria-activedescendant", `slot-${pc}`);
  const row = P().rowOfPlace.get(P().code[index][3]);
  if (row !== undefined) {
    byId("source").setAttribute("aria-activedescendant", `source-${P().code[index][3]}`);
    if (from !== "source") sourceRowsView.reveal(row);
    else sourceRowsView.refresh();
  } else sourceRowsView.refresh();
  const place = P().blockAt.get(pc);
  if (place) {
    showFunction(place[0]);
    const within = index - P().indexOf.get(P().functions[place[0]].blocks[place[1]][0]);
    if (from !== "graph") graph.reveal(place[1], Math.min(within, METRICS.lines) * METRICS.line);
  }
  if (graph.graph) graph.repaint();
  showTabs();
  showPanel();
  history.replaceState(null, "", `#${encodeURIComponent(P().name)}:${pc}`);
}

function chooseSource(place) {
  const all = P().ofPlace.get(place) || [];
  const next = all.find((index) => index > now.index) ?? all[0];
  if (next !== undefined) choose({ index: next, from: "source" });
}

function chooseFailure(number) {
  const failure = P().failures[number];
  const calls = JSON.stringify(failure.calls);
  const context = P().contexts.findIndex((each) => JSON.stringify(each.calls) === calls && each.at[failure.pc]);
  choose({ index: P().indexOf.get(failure.pc), failure: number, tab: "failures", context: context < 0 ? null : context });
  announce(`failure ${P().failureOrder.indexOf(number) + 1} of ${P().failures.length}: ${failure.message}`);
}

function nextFailure(by) {
  const order = P().failureOrder;
  if (!order.length) return announce("every assertion is proved");
  const at = order.indexOf(now.failure);
  chooseFailure(order[at < 0 ? (by > 0 ? 0 : order.length - 1) : (at + by + order.length) % order.length]);
}

function chooseStep(step) {
  const steps = P().witness?.steps;
  if (!steps) return;
  step = Math.max(0, Math.min(steps.length - 1, step));
  choose({ index: P().indexOf.get(steps[step][0]), step, tab: "witness" });
}

function announce(text) {
  byId("announce").textContent = text;
}

// Search -------------------------------------------------------------------------------------------------------------

/** The instructions that the search finds: by their text, what explains it, or their source line. */
function found() {
  if (!now.query) return [];
  if (!P().haystack) {
    P().haystack = P().code.map(([pc, words, comment, place]) => {
      const source = place < 0 ? "" : P().text(P().places[place][2]);
      return `${pc}: ${P().text(words)} ; ${P().text(comment)} ${source}`.toLowerCase();
    });
  }
  if (now.foundFor !== now.query) {
    now.foundFor = now.query;
    now.found = [];
    P().haystack.forEach((text, index) => text.includes(now.query) && now.found.push(index));
  }
  return now.found;
}

function search(by) {
  now.query = byId("query").value.trim().toLowerCase();
  const all = found();
  byId("hits").textContent = now.query ? (all.length ? `${all.length} found` : "nothing") : "";
  if (!all.length) {
    codeRows.refresh();
    sourceRowsView.refresh();
    return;
  }
  let to = by >= 0 ? all.find((index) => (by ? index > now.index : index >= now.index)) : all.findLast((index) => index < now.index);
  if (to === undefined) to = by >= 0 ? all[0] : all[all.length - 1];
  choose({ index: to });
  byId("hits").textContent = `${all.indexOf(to) + 1} of ${all.length}`;
}

// Details ------------------------------------------------------------------------------------------------------------

function showTabs() {
  const counts = { failures: P().failures.length, proved: P().discharged.length };
  byId("tabs").replaceChildren(
    ...TABS.filter(([id]) => isThere(id)).map(([id, name]) =>
      make(
        "button",
        {
          role: "tab",
          type: "button",
          id: `tab-${id}`,
          "aria-selected": id === now.tab,
          "aria-controls": "panel",
          tabindex: id === now.tab ? 0 : -1,
          click: () => choose({ tab: id }),
        },
        name,
        counts[id] ? make("span", { class: `count ${id === "failures" ? "bad" : ""}` }, counts[id]) : null,
      ),
    ),
  );
}

function isThere(tab) {
  if (tab === "witness") return Boolean(P().witness);
  if (tab === "proved") return P().discharged.length > 0;
  if (tab === "kernel") return Boolean(P().kernel);
  return true;
}

function showPanel() {
  const panel = byId("panel");
  const scrolled = panel.dataset.tab === now.tab && now.tab !== "state" ? panel.scrollTop : 0;
  panel.dataset.tab = now.tab;
  panel.setAttribute("aria-labelledby", `tab-${now.tab}`);
  panel.classList.toggle("full", now.tab === "kernel");
  panel.replaceChildren(...{ state: stateTab, failures: failuresTab, witness: witnessTab, proved: provedTab, kernel: kernelTab }[now.tab]());
  panel.scrollTop = scrolled;
  panel.querySelector(".card.chosen")?.scrollIntoView({ block: "nearest" });
}

function empty(text) {
  return make("p", { class: "empty" }, text);
}

function callsText(calls) {
  return calls.length ? `called from slot ${calls.join(", ")}` : "the main program";
}

function stateTab() {
  const pc = pcNow();
  const [, words] = P().code[now.index];
  const out = [make("div", { class: "bar" }, make("span", { class: "where" }, `before ${pc}: ${P().text(words)}`))];
  const context = P().contexts[now.context];
  const states = context?.at[pc];
  if (!P().contexts.length) return [...out, empty(`The verifier has no invariants for this program${P().reason ? `: ${P().reason}` : ""}.`)];
  if (!states) return [...out, empty("No path from the entry leads here, as far as the control flow goes.")];
  if (!states.length) return [...out, empty("Unreachable: no run gets here, as the verifier found out.")];
  const contexts = [...P().contexts.keys()].filter((each) => P().contexts[each].at[pc]);
  if (contexts.length > 1) out[0].append(chooser("Calls", contexts.map((each) => [each, callsText(P().contexts[each].calls)]), now.context, (value) => choose({ context: value, state: 0 })));
  if (states.length > 1) out[0].append(chooser("State", states.map((_, each) => [each, `state ${each + 1} of ${context.more[pc] || states.length}`]), now.state, (value) => choose({ state: value })));
  if (context.more[pc]) out.push(make("p", { class: "soft" }, `The page has the first ${states.length} of ${context.more[pc]} states.`));
  for (const [head, calls, words] of P().loops || []) {
    if (head === pc && String(calls) === String(context.calls)) out.push(make("p", { class: "bound" }, `A loop: ${words}`));
  }
  const lines = P().lines(states[Math.min(now.state, states.length - 1)]);
  const before = previous(context, pc);
  out.push(stateTable(lines, before, `what holds before slot ${pc}`));
  if (before) out.push(make("p", { class: "soft" }, "Marked: what the instruction before this one has changed."));
  return out;
}

/** The lines of the state before the instruction before `pc` in its block; null at the head. */
function previous(context, pc) {
  const place = P().blockAt.get(pc);
  const before = now.index > 0 ? P().code[now.index - 1][0] : -1;
  if (!place || before < P().functions[place[0]].blocks[place[1]][0]) return null;
  const states = context.at[before];
  return states && states.length ? P().lines(states[Math.min(now.state, states.length - 1)]) : null;
}

function chooser(label, options, value, change) {
  const select = make("select", { "aria-label": label, change: () => change(Number(select.value)) }, ...options.map(([id, text]) => make("option", { value: id, selected: id === value }, text)));
  return select;
}

function stepsOf(slice) {
  return make(
    "ol",
    { class: "steps" },
    ...slice.map(([pc, calls]) => {
      const index = P().indexOf.get(pc);
      const [, words, , place] = P().code[index];
      const source = place < 0 ? null : P().places[place];
      const where = source ? `${P().text(source[0]).split("/").pop()}:${source[1]}` : "";
      return make(
        "li",
        {},
        make(
          "button",
          { type: "button", title: calls.length ? callsText(calls) : null, click: () => choose({ index }) },
          make("span", { class: "at" }, pc),
          make("span", {}, ...coloured(P().text(words))),
          where ? make("span", { class: "comment" }, `  ${where}`) : null,
        ),
      );
    }),
  );
}

function failuresTab() {
  if (!P().failures.length) {
    const words = { SAFE: "Every assertion is proved.", UNSUPPORTED: `Not analysed: ${P().reason}.`, UNKNOWN: `No assertion is to blame: ${P().reason}.` };
    return [empty(words[P().verdict] || P().reason)];
  }
  return P().failureOrder.map((number) => {
    const failure = P().failures[number];
    const chosen = number === now.failure;
    const list = make("dl");
    const say = (term, text) => text && list.append(make("dt", {}, term), make("dd", {}, text));
    say("where", `${failure.line ? `${failure.line}, ` : ""}slot ${failure.pc}${failure.calls.length ? `, ${callsText(failure.calls)}` : ""}`);
    say("assertion", failure.assertion);
    say("needed", failure.needed);
    say("known", failure.known);
    if (chosen) failure.facts.forEach((fact) => say("fact", fact));
    return make(
      "article",
      { class: `card${chosen ? " chosen" : ""}` },
      make("h3", {}, make("button", { type: "button", "aria-pressed": chosen, click: () => chooseFailure(number) }, failure.message)),
      list,
      chosen ? make("p", { class: "soft" }, "because of") : null,
      chosen ? stepsOf(failure.slice) : null,
    );
  });
}

function witnessTab() {
  const witness = P().witness;
  const last = witness.steps.length - 1;
  const step = now.step < 0 ? last : now.step;
  const registers = new Array(11).fill(null);
  for (let each = 0; each <= step; each++) for (const [register, text] of witness.steps[each][2]) registers[register] = text;
  const fresh = new Set(witness.steps[step][2].map(([register]) => register));
  const go = (label, title, to) => make("button", { type: "button", title, "aria-label": title, disabled: to < 0 || to > last || to === step, click: () => chooseStep(to) }, label);
  const range = make("input", { type: "range", class: "witness-range", min: 0, max: last, value: step, "aria-label": "step of the run", input: () => chooseStep(Number(range.value)) });
  const body = make("tbody");
  registers.forEach((text, register) => {
    if (text === null || text < 0) return;
    body.append(make("tr", { class: step > 0 && fresh.has(register) ? "changed" : null }, make("th", { scope: "row" }, `r${register}`), make("td", { class: "number" }, P().text(text))));
  });
  const inputs = make("tbody");
  witness.inputs.forEach(([name, text]) => inputs.append(make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, text))));
  const [pc] = witness.steps[step];
  return [
    make("p", { class: "witness-trap" }, witness.headline),
    make("div", { class: "bar" }, go("|◀", "first step", 0), go("◀", "one step back (,)", step - 1), go("▶", "one step on (.)", step + 1), go("▶|", "the trap", last), range, make("span", { class: "soft", id: "step" }, `step ${witness.first + step + 1} of ${witness.first + last + 1}`)),
    make("p", { class: "where mono" }, `before ${pc}: `, ...coloured(P().text(P().code[P().indexOf.get(pc)][1]))),
    step === last ? make("p", { class: "witness-trap" }, `here the run traps: ${witness.kind}: ${witness.message}`) : null,
    make("table", { class: "state", "aria-label": "registers" }, body),
    make("h3", { class: "soft" }, "Inputs"),
    make("table", { class: "state", "aria-label": "inputs of the run" }, inputs),
  ].filter(Boolean);
}

function provedTab() {
  const out = [empty("What the domains left open and the solver proved: no run violates these assertions.")];
  P().discharged.forEach((each) => {
    const body = make("div");
    const details = make("details", {
      toggle: () => {
        if (details.open && !body.firstChild) body.append(make("pre", { class: "query", tabindex: 0 }, each.query));
      },
    });
    details.append(
      make("summary", {}, make("span", { class: "mono" }, `slot ${each.pc}  ${each.assertion}`), make("span", { class: "soft" }, `  ${callsText(each.calls)}, rlimit ${each.rlimit}`)),
      make("button", { type: "button", click: () => choose({ index: P().indexOf.get(each.pc) }) }, `go to slot ${each.pc}`),
      body,
    );
    out.push(details);
  });
  return out;
}

let logRows = null;

function kernelTab() {
  const { kind, reason, log } = P().kernel;
  const pc = pcNow();
  const lines = P().logAt.get(pc) || [];
  const context = P().contexts[now.context];
  const states = context?.at[pc] || [];
  const theirs = lines.slice(0, 8).map((line) => make("p", {}, log[line]));
  const ours = states.length ? stateTable(P().lines(states[Math.min(now.state, states.length - 1)]), null, "our state") : empty("no state");
  const host = make("div", { id: "log", role: "listbox", "aria-label": "the kernel's log", tabindex: 0 });
  const view = new Rows(host, 20, (index) => {
    const match = /^\s*(\d+): [(R]/.exec(log[index]);
    const slot = match ? Number(match[1]) : -1;
    const hit = slot === pc && lines.includes(index);
    return make("div", { class: `row${hit ? " chosen" : ""}`, role: "option", "aria-selected": hit, click: () => P().indexOf.has(slot) && choose({ index: P().indexOf.get(slot) }) }, log[index]);
  });
  const top = logRows && logRows.program === P() ? logRows.host.scrollTop : 0;
  logRows = { host, program: P() };
  requestAnimationFrame(() => {
    view.reset(log.length);
    host.scrollTop = top;
    if (lines.length) view.reveal(lines[0]);
    else view.refresh();
  });
  return [
    make(
      "div",
      { class: "compare" },
      make("div", {}, make("h3", {}, `Kernel: ${kind}${reason ? `: ${reason}` : ""}`), ...(theirs.length ? theirs : [empty(`Its log says nothing of slot ${pc}.`)]), lines.length > 8 ? make("p", { class: "soft" }, `and ${lines.length - 8} more visits`) : null),
      make("div", {}, make("h3", {}, `Here: ${P().verdict}, before slot ${pc}`), ours),
    ),
    host,
  ];
}

// Start --------------------------------------------------------------------------------------------------------------

const prepared = new Map();

function showProgram(number, slot = null) {
  if (!prepared.has(number)) prepared.set(number, prepare(DATA.programs[number]));
  Object.assign(now, { program: prepared.get(number), index: 0, context: 0, state: 0, failure: -1, slice: new Set(), step: -1, tab: "state", foundFor: null, fn: -1 });
  byId("program").value = String(number);
  const p = P();
  const verdict = byId("verdict");
  verdict.textContent = p.verdict;
  verdict.className = `badge ${p.verdict}`;
  const ends = p.loops === null ? "" : p.instructions_bound === null ? "no bound on runs is known" : `ends within ${p.instructions_bound} instructions`;
  const facts = [p.type, `${p.code.length} instructions`, p.reason, ends, p.policy === "strict" ? "" : `policy ${p.policy}`, ...p.assumptions.map((each) => `assumed: ${each}`)];
  byId("facts").textContent = facts.filter(Boolean).join("  ·  ");
  byId("facts").title = `${p.steps} abstract steps, ${p.disjuncts} ${p.disjuncts === 1 ? "state" : "states"} kept apart, ${p.seconds} s`;
  byId("main").classList.toggle("no-source", !p.places.length);
  byId("function").replaceChildren(...p.functions.map((fn, each) => make("option", { value: each }, fn.name)));
  byId("function").classList.toggle("single", p.functions.length < 2);
  codeRows.reset(p.code.length);
  sourceRowsView.reset(p.source.length);
  if (p.functions.length) showFunction(0);
  else byId("graph").replaceChildren(empty("There is no control-flow graph."));
  const start = slot !== null && p.indexOf.has(slot) ? p.indexOf.get(slot) : null;
  if (start !== null) choose({ index: start });
  else if (p.failures.length) chooseFailure(p.failureOrder[0]);
  else choose({ index: 0 });
}

/** Borders between panes that can be moved: with the pointer, or with arrow keys when they have the focus. */
function splitter(id, vertical, name, least, most) {
  const border = byId(id);
  const main = byId("main");
  const put = (share) => {
    const now = Math.round(Math.min(most, Math.max(least, share)) * 10) / 10;
    main.style.setProperty(name, `${now}%`);
    border.setAttribute("aria-valuenow", now);
    place();
  };
  const share = (event) => {
    const box = main.getBoundingClientRect();
    return vertical ? ((event.clientX - box.left) / box.width) * 100 : ((event.clientY - box.top) / box.height) * 100;
  };
  border.addEventListener("pointerdown", (event) => {
    border.setPointerCapture(event.pointerId);
    event.preventDefault();
    border.focus();
  });
  border.addEventListener("pointermove", (event) => border.hasPointerCapture(event.pointerId) && put(share(event)));
  border.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -2, ArrowUp: -2, ArrowRight: 2, ArrowDown: 2 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    put(Number(border.getAttribute("aria-valuenow")) + by);
  });
  Object.entries({ "aria-valuemin": least, "aria-valuemax": most }).forEach(([key, value]) => border.setAttribute(key, value));
}

/** Put the borders where the panes meet. */
function place() {
  const main = byId("main").getBoundingClientRect();
  const box = (id) => byId(id).getBoundingClientRect();
  const at = (id, style) => Object.assign(byId(id).style, style);
  const share = (value, whole) => String(Math.round((value / whole) * 1000) / 10);
  const [code, graph] = [box("code-pane"), box("graph-pane")];
  at("split-source", { left: `${code.left - main.left - 10}px` });
  at("split-code", { left: `${code.right - main.left}px` });
  at("split-detail", { left: `${graph.left - main.left}px`, width: `${graph.width}px`, top: `${graph.bottom - main.top}px` });
  byId("split-source").setAttribute("aria-valuenow", share(code.left - main.left, main.width));
  byId("split-code").setAttribute("aria-valuenow", share(code.right - main.left, main.width));
  byId("split-detail").setAttribute("aria-valuenow", share(graph.bottom - main.top, main.height));
}
splitter("split-source", true, "--source", 10, 45);
splitter("split-code", true, "--code", 30, 85);
splitter("split-detail", false, "--graph", 15, 85);
new ResizeObserver(place).observe(byId("main"));

const KEYS = {
  j: () => choose({ index: Math.min(P().code.length - 1, now.index + 1) }),
  k: () => choose({ index: Math.max(0, now.index - 1) }),
  ArrowDown: () => KEYS.j(),
  ArrowUp: () => KEYS.k(),
  g: () => choose({ index: 0 }),
  G: () => choose({ index: P().code.length - 1 }),
  n: () => nextFailure(1),
  p: () => nextFailure(-1),
  ".": () => P().witness && chooseStep(now.step < 0 ? 0 : now.step + 1),
  ",": () => P().witness && chooseStep((now.step < 0 ? P().witness.steps.length - 1 : now.step) - 1),
  "/": () => {
    byId("query").focus();
    byId("query").select();
  },
  "+": () => graph.zoom(1.25),
  "=": () => graph.zoom(1.25),
  "-": () => graph.zoom(0.8),
  f: () => graph.fit(),
  t: () => theme.toggle(),
  "?": () => byId("help").showModal(),
};
TABS.forEach(([id], number) => (KEYS[number + 1] = () => isThere(id) && choose({ tab: id })));

document.addEventListener("keydown", (event) => {
  if (isTyping(event) || byId("help").open) return;
  const tab = event.target.closest?.('[role="tab"]');
  if (tab && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
    const all = [...byId("tabs").children];
    const next = all[(all.indexOf(tab) + (event.key === "ArrowRight" ? 1 : all.length - 1)) % all.length].id;
    byId(next).click();
    byId(next).focus();
    return event.preventDefault();
  }
  const scrolls = event.key.startsWith("Arrow") && event.target.closest?.("#panel, #log");
  if (scrolls || event.target.matches("input[type=range]") || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});

byId("search").addEventListener("submit", (event) => event.preventDefault());
byId("query").addEventListener("input", () => search(0));
byId("query").addEventListener("keydown", (event) => {
  if (event.key === "Enter") search(event.shiftKey ? -1 : 1);
  else if (event.key === "Escape") {
    byId("query").value = "";
    search(0);
    byId("code").focus();
  } else return;
  event.preventDefault();
});
byId("program").addEventListener("change", () => showProgram(Number(byId("program").value)));
byId("function").addEventListener("change", () => {
  const fn = P().functions[Number(byId("function").value)];
  choose({ index: P().indexOf.get(fn.entry) });
});
byId("theme").addEventListener("click", () => theme.toggle());
byId("help-button").addEventListener("click", () => byId("help").showModal());
byId("zoom-in").addEventListener("click", () => graph.zoom(1.25));
byId("zoom-out").addEventListener("click", () => graph.zoom(0.8));
byId("fit").addEventListener("click", () => graph.fit());

byId("title").textContent = DATA.object.split("/").pop();
byId("program").replaceChildren(...DATA.programs.map((program, number) => make("option", { value: number }, `${program.name}  (${program.verdict})`)));
byId("program").classList.toggle("single", DATA.programs.length < 2);
if (DATA.programs.length) {
  const [wanted, slot] = location.hash.slice(1).split(":");
  const number = DATA.programs.findIndex((program) => encodeURIComponent(program.name) === wanted);
  showProgram(Math.max(number, 0), number >= 0 && slot ? Number(slot) : null);
} else byId("main").replaceChildren(make("section", {}, empty("The object has no programs.")));
