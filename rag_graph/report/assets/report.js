"use strict";
// The interactive parts of a run's report. All text of a run reaches the page through textContent, never as markup.
// Maps of a run are keyed by names that anyone may choose, "constructor" too: objects without a prototype know no other keys.
const bare = (key, value) => (value && Object.getPrototypeOf(value) === Object.prototype ? Object.assign(Object.create(null), value) : value);
const data = JSON.parse(document.getElementById("data").textContent, bare);
const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8a6d00", "#56B4E9", "#000000", "#777777"]; // Okabe & Ito; yellow darkened for lines
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
const SEMANTICS = { // a fact has the colour of the rule that reads like it
  bound: "#D55E00", indication: "#009E73", counterindication: "#CC79A7", gate: "#D55E00", credit: "#009E73", penalty: "#CC79A7", aggregate: "#56B4E9",
  message: "#8b96a0", evidence: "#555555",
};
const ROLE_DASH = { rule: undefined, fact: "9 5", neither: "1 4" }; // rules solid, facts dashed, neither dotted
const ROLE_SAYS = { rule: "A rule changes what an answer is worth.", fact: "A fact helps to predict scores that were not observed.", neither: "It pays nothing by itself." };
const $ = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "circle", "rect", "text", "line", "marker", "defs", "title"].includes(tag) && tag !== "title" || attributes.svg;
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "svg" || value === undefined || value === null) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (typeof child === "number" ? String(child) : child)));
  return node;
}
const known = (value) => value !== null && value !== undefined;
const show = (value, digits = 3) => (known(value) ? value.toFixed(digits) : "–");
const signed = (value) => (known(value) ? (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(3) : "–");

const brief = (value) => { // three characters or so, for inside a node
  const size = Math.abs(value);
  return size < 0.005 ? "0" : (value < 0 ? "−" : "+") + (size >= 10 ? size.toFixed(0) : size >= 0.995 ? size.toFixed(1) : size.toFixed(2).slice(1));
};

function smooth(values, width) { // mean of what is known among the last `width`
  const out = [];
  let sum = 0, count = 0;
  for (let i = 0; i < values.length; i++) {
    if (known(values[i])) { sum += values[i]; count++; }
    if (i >= width && known(values[i - width])) { sum -= values[i - width]; count--; }
    out.push(count && known(values[i]) ? sum / count : null);
  }
  return out;
}

// ------------------------------------------------------------------ the graph
const nodes = data.graph.nodes, edges = data.graph.edges, updates = data.updates;
const width = Math.max(1, Math.floor(updates.length / 15));

function lastKnown(values, end, span) { // mean over the last `span` updates up to `end` that know it
  let sum = 0, count = 0;
  for (let i = end; i >= 0 && i > end - span; i--) if (known(values[i])) { sum += values[i]; count++; }
  if (!count) for (let i = end - span; i >= 0; i--) if (known(values[i])) return values[i];
  return count ? sum / count : null;
}
function strengthAt(edge, position) {
  if (position === 0 || !data.strengths[edge.index]) return edge.strength;
  const value = data.strengths[edge.index][position - 1];
  return known(value) ? value : edge.strength;
}
function nodeAt(node, quantity, position) {
  const series = (data.nodes[node.name] || Object.create(null))[quantity];
  return position === 0 || !series ? null : lastKnown(series, position - 1, width);
}
const mix = (a, b, t) => a.map((value, i) => Math.round(value + (b[i] - value) * t));
function colour(value) { // orange below 0, white, blue above: told apart by colour-blind readers, and the number stands beside it
  if (!known(value)) return "#eceff1";
  const t = Math.min(1, Math.abs(value) / data.largest_reward);
  return `rgb(${mix([247, 247, 247], value < 0 ? [202, 98, 8] : [33, 113, 181], Math.sqrt(t)).join(",")})`;
}

const SCALE_X = 230, SCALE_Y = Math.max(...nodes.map((node) => node.y)) > 12 ? 62 : 96, EDGE_X = 90, EDGE_Y = 50;
for (const node of nodes) { node.px = EDGE_X + node.x * SCALE_X; node.py = EDGE_Y + node.y * SCALE_Y; }
const byName = Object.fromEntries(nodes.map((node) => [node.name, node]));

function wire(edge) { // a bent line; two relations between the same ends bend apart
  const a = byName[edge.source], b = byName[edge.target];
  const dx = b.px - a.px, dy = b.py - a.py, length = Math.hypot(dx, dy) || 1;
  const bend = Math.min((Math.abs(dx) < 1 ? 0.45 : 0.05) + 0.16 * edge.nth, 220 / length);
  const cx = (a.px + b.px) / 2 + dy * bend, cy = (a.py + b.py) / 2 - dx * bend;
  const trim = (from, gap) => { const ux = cx - from.px, uy = cy - from.py, size = Math.hypot(ux, uy) || 1; return [from.px + ux / size * gap, from.py + uy / size * gap]; };
  if (length < 2) return "";
  const [x1, y1] = trim(a, 24), [x2, y2] = trim(b, 31);
  return `M${x1.toFixed(1)},${y1.toFixed(1)} Q${cx.toFixed(1)},${cy.toFixed(1)} ${x2.toFixed(1)},${y2.toFixed(1)}`;
}
function shape(kind, r) {
  if (kind === "task") return make("circle", { class: "shape", r, stroke: "#38424b", "stroke-width": 1.6 });
  const rotate = kind === "context" ? "rotate(45)" : undefined;
  return make("rect", { class: "shape", x: -r * 0.86, y: -r * 0.86, width: r * 1.72, height: r * 1.72, transform: rotate, stroke: "#38424b", "stroke-width": 1.6 });
}

let position = updates.length;
function drawGraph() {
  const w = EDGE_X * 2 + SCALE_X * Math.max(...nodes.map((n) => n.x)), h = EDGE_Y * 2 + SCALE_Y * Math.max(...nodes.map((n) => n.y));
  const svg = make("svg", { viewBox: `0 0 ${w} ${h + 14}`, style: `max-width:${Math.round(1.3 * w)}px`, role: "group", "aria-label": `Graph ${data.graph.name}: ${nodes.length} nodes, ${edges.length} relations` });
  const defs = make("defs");
  for (const [name, ink] of Object.entries(SEMANTICS))
    defs.append(make("marker", { id: `tip-${name}`, viewBox: "0 0 10 10", refX: 8, refY: 5, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" }, make("path", { d: "M0,0 L10,5 L0,10 z", fill: ink })));
  svg.append(defs);
  for (const edge of edges) {
    edge.path = make("path", { class: "wire", d: wire(edge), fill: "none", stroke: SEMANTICS[edge.semantics], "stroke-dasharray": ROLE_DASH[edge.role], "marker-end": `url(#tip-${edge.semantics})`, opacity: 0.9 });
    const area = make("path", { d: wire(edge), fill: "none", stroke: "transparent", "stroke-width": 14 });
    edge.group = make("g", { class: "edge", tabindex: 0, role: "button", onmouseenter: () => detailOfEdge(edge), onfocus: () => detailOfEdge(edge) }, area, edge.path);
    svg.append(edge.group);
  }
  for (const node of nodes) {
    node.shape = shape(node.kind, 18);
    node.value = make("text", { class: "value", "text-anchor": "middle", y: 4 });
    node.group = make("g", { class: "node", tabindex: 0, role: "button", transform: `translate(${node.px},${node.py})`, onmouseenter: () => detailOfNode(node), onfocus: () => detailOfNode(node) },
      node.shape, node.value, make("text", { "text-anchor": "middle", y: 42 }, node.name.length > 26 ? node.name.slice(0, 25) + "…" : node.name));
    svg.append(node.group);
  }
  $("graph-picture").replaceChildren(svg);
  drawLegend();
  const slider = $("update");
  slider.max = updates.length;
  slider.value = position;
  slider.addEventListener("input", () => moveTo(Number(slider.value)));
  $("to-start").addEventListener("click", () => moveTo(0));
  $("to-end").addEventListener("click", () => moveTo(updates.length));
  if (!updates.length) { slider.disabled = true; $("to-start").disabled = $("to-end").disabled = true; }
  moveTo(position);
}
function drawLegend() {
  const legend = $("graph-legend"), used = new Map(edges.map((edge) => [edge.relation, edge]));
  for (const kind of ["task", "criterion", "context"]) if (nodes.some((n) => n.kind === kind)) {
    const mark = shape(kind, 7);
    mark.setAttribute("fill", "#eceff1");
    legend.append(make("span", {}, make("svg", { width: 22, height: 22, viewBox: "-11 -11 22 22", "aria-hidden": "true" }, mark), kind));
  }
  for (const role of ["fact", "rule", "neither"]) for (const edge of used.values()) if (edge.role === role) {
    legend.append(make("span", {}, make("svg", { width: 34, height: 10, "aria-hidden": "true" }, make("line", { x1: 0, y1: 5, x2: 34, y2: 5, stroke: SEMANTICS[edge.semantics], "stroke-width": 3, "stroke-dasharray": ROLE_DASH[role] })), `${edge.relation} (${role})`));
  }
  const scale = make("span", {}, `paid: ${signed(-data.largest_reward)} `);
  for (let i = -3; i <= 3; i++) scale.append(make("svg", { width: 16, height: 12, "aria-hidden": "true", style: "margin:0" }, make("rect", { width: 16, height: 12, fill: colour(i / 3 * data.largest_reward) })));
  scale.append(` ${signed(data.largest_reward)}`);
  legend.append(scale);
}
let selected = null;
function moveTo(where) {
  position = where;
  $("update").value = where;
  $("update-shown").textContent = where === 0 ? "0" : String(updates[where - 1]);
  $("update").setAttribute("aria-valuetext", where === 0 ? "as the file states it" : `update ${updates[where - 1]}`);
  $("graph-note").textContent = where === 0 ? "as the file states it; nothing was paid yet" : width > 1 ? `numbers of nodes: mean of the last ${width} updates` : "";
  for (const node of nodes) {
    const paid = nodeAt(node, "reward", where), weight = nodeAt(node, "weight", where);
    const grow = known(weight) ? Math.min(1.5, 0.75 + 0.6 * Math.sqrt(Math.abs(weight))) : node.goal ? 1.2 : 0.85;
    node.shape.setAttribute("fill", colour(paid));
    node.shape.style.transform = `scale(${grow.toFixed(3)})` + (node.kind === "context" ? " rotate(45deg)" : "");
    node.value.textContent = !known(paid) ? "" : brief(paid);
    node.group.setAttribute("aria-label", `${node.kind} ${node.name}: paid ${known(paid) ? signed(paid) : "nothing yet"}, weight ${show(weight)}`);
  }
  for (const edge of edges) {
    const strength = strengthAt(edge, where);
    edge.path.setAttribute("stroke-width", (0.7 + 5 * strength).toFixed(2));
    edge.group.setAttribute("aria-label", `${edge.source} ${edge.relation} ${edge.target}, ${edge.role}: strength ${show(strength, 2)}, the file says ${show(edge.strength, 2)}`);
  }
  if (selected) selected();
  relationTable();
}
function detail(title, lines, again) {
  selected = again;
  $("graph-detail").replaceChildren(make("h3", {}, title), ...lines.map((line) => (line instanceof Node ? line : make("p", {}, line))));
}
function detailOfNode(node) {
  const at = (quantity) => nodeAt(node, quantity, position);
  const rows = [["paid", signed(at("reward"))], ["weight", show(at("weight"))], ["score, where observed", show(at("score"))], ["score, filled in", show(at("imputed"))], ["after gates", show(at("gated"))], ["gate", show(at("gate"))], ["observed", known(at("observed")) ? Math.round(at("observed") * 100) + "%" : "–"], ["bias of predictions", signed(at("bias"))]];
  const table = make("table", {}, make("tbody", {}, ...rows.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "n" }, value)))));
  detail(node.name, [make("p", {}, make("em", {}, node.title)), `${node.kind}${node.goal ? `, goal weight ${node.goal}` : ""}${node.about ? `: ${node.about}` : ""}`, ...(node.kind === "context" ? [] : [table])], () => detailOfNode(node));
}
function detailOfEdge(edge) {
  const now = strengthAt(edge, position);
  detail(`${edge.source} → ${edge.target}`, [`${edge.relation} (${edge.role})`, ROLE_SAYS[edge.role], `strength ${show(now)}; the file says ${show(edge.strength)}${edge.tuned ? "" : ", and that it stays"}`, make("p", {}, make("code", {}, edge.place))], () => detailOfEdge(edge));
}
function relationTable() {
  const head = make("thead", {}, make("tr", {}, ...["place", "from", "relation", "role", "to", "file", "now", "change"].map((name) => make("th", { scope: "col" }, name))));
  const rows = edges.map((edge) => {
    const now = strengthAt(edge, position);
    return make("tr", {}, make("td", {}, make("code", {}, edge.place)), make("td", {}, edge.source), make("td", {}, edge.relation), make("td", {}, edge.role), make("td", {}, edge.target), make("td", { class: "n" }, show(edge.strength)), make("td", { class: "n" }, show(now)), make("td", { class: "n" }, edge.tuned ? signed(now - edge.strength) : "frozen"));
  });
  $("relations").replaceChildren(head, make("tbody", {}, ...rows));
}

// ------------------------------------------------------------------ curves
const shownNodes = new Map(Object.keys(data.nodes).map((name) => [name, true]));
const styleOf = Object.fromEntries([...shownNodes.keys()].map((name, i) => [name, { ink: PALETTE[i % PALETTE.length], dash: DASHES[Math.floor(i / PALETTE.length) % DASHES.length] }]));
let plots = [];
function chartList() {
  const own = data.charts.map((chart) => ({ ...chart, series: chart.series.map((s, i) => ({ ...s, ink: PALETTE[i % PALETTE.length], dash: DASHES[i % DASHES.length] })) }));
  const ofNodes = data.node_charts.map((chart) => ({ ...chart, series: Object.entries(data.nodes).filter(([, of]) => (of[chart.quantity] || []).some(known)).map(([name, of]) => ({ label: name, node: name, values: of[chart.quantity], ...styleOf[name] })) }));
  return [...own, ...ofNodes].filter((chart) => chart.series.some((s) => s.values.some(known)));
}
function drawCharts() {
  plots.forEach((plot) => plot.destroy());
  plots = [];
  const area = $("charts");
  area.replaceChildren();
  if (!updates.length) { area.append(make("p", { class: "empty" }, "No update of PPO has been made yet.")); return; }
  const span = Number($("smoothing").value), sync = uPlot.sync("updates");
  for (const chart of chartList()) {
    const series = chart.series.filter((s) => !s.node || shownNodes.get(s.node));
    const values = series.map((s) => smooth(s.values, span));
    const holder = make("div", { role: "img", "aria-label": `${chart.title} over updates` });
    const box = make("div", { class: "chart" }, make("h3", {}, chart.title), make("p", { class: "about" }, chart.about || ""), holder, summary(series, values));
    area.append(box);
    const options = {
      width: Math.max(280, Math.min(560, box.clientWidth || 520)), height: 240, cursor: { sync: { key: sync.key } }, legend: { show: !chart.quantity || series.length <= 8 },
      scales: { x: { time: false }, y: chart.range ? { range: chart.range } : {} },
      axes: [{ label: "update", labelSize: 18, size: 36, font: "12px system-ui" }, { size: 56, font: "12px system-ui" }],
      series: [{ label: "update" }, ...series.map((s) => ({ label: s.label, stroke: s.ink, dash: s.dash, width: 2, spanGaps: true, points: { show: updates.length === 1 }, value: (_, v) => show(v) }))],
    };
    plots.push(new uPlot(options, [updates, ...values], holder));
  }
}
function summary(series, values) { // the same for those who cannot see or point at a picture
  const rows = series.map((s, i) => {
    const all = values[i].filter(known);
    return make("tr", {}, make("th", { scope: "row" }, s.label), ...[all[0], all[all.length - 1], Math.min(...all), Math.max(...all)].map((v) => make("td", { class: "n" }, show(v))));
  });
  const head = make("tr", {}, ...["", "first", "last", "least", "most"].map((name) => make("th", { scope: "col" }, name)));
  return make("details", {}, make("summary", {}, "numbers"), make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}
function setUpCurves() {
  const options = [...new Set([1, 5, 10, 20, width])].filter((n) => n <= Math.max(1, updates.length)).sort((a, b) => a - b);
  $("smoothing").append(...options.map((n) => make("option", { value: n, ...(n === width ? { selected: "" } : {}) }, String(n))));
  $("smoothing").addEventListener("change", drawCharts);
  for (const [name] of shownNodes) {
    const { ink, dash } = styleOf[name];
    const button = make("button", { type: "button", "aria-pressed": "true" }, make("svg", { width: 26, height: 8, "aria-hidden": "true" }, make("line", { x1: 0, y1: 4, x2: 26, y2: 4, stroke: ink, "stroke-width": 3, "stroke-dasharray": dash.join(" ") || undefined })), name);
    button.addEventListener("click", () => { shownNodes.set(name, !shownNodes.get(name)); button.setAttribute("aria-pressed", String(shownNodes.get(name))); drawCharts(); });
    $("node-toggles").append(button);
  }
  drawCharts();
  let waiting = 0;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(drawCharts, 150); });
}

// ------------------------------------------------------------------ episodes
const PAGE = 20;
const COLUMNS = [["update", "update", true], ["task", "task"], ["prompt", "prompt"], ["response", "answer"], ["goal", "goal score", true], ["reward", "reward", true]];
let store = { rows: [], contexts: {} }, found = [], page = 0, order = { key: "update", down: true }, chosen = null;

async function unpack(text) {
  if (!text) return { rows: [], contexts: {} };
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text(), bare);
}
const goalOf = (row) => row.scores[row.task] ?? (row.reserved ? row.reserved[row.task] : undefined);
const problemsOf = (row) => [row.error, ...Object.entries(row.failed || {}).map(([node, why]) => `${node}: ${why}`)].filter(Boolean).join("\n");
function haystack(row) {
  if (row.hay === undefined) {
    const evidence = (row.evidence || []).map((e) => `${e.id} ${(store.contexts[e.id] || ["", ""]).join(" ")}`);
    row.hay = [row.id, row.task, row.prompt, row.draft, row.response, ...(row.references || []), problemsOf(row), ...evidence].join("\n").toLowerCase();
  }
  return row.hay;
}
function search() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean), part = $("part").value, task = $("task").value, only = $("only").value;
  const keep = {
    "": () => true, error: (r) => problemsOf(r), reserved: (r) => r.reserved && Object.keys(r.reserved).length, hidden: (r) => !known(goalOf(r)),
  }[only];
  found = store.rows.filter((row) => row.part === part && (!task || row.task === task) && keep(row) && words.every((word) => haystack(row).includes(word)));
  sortRows();
  page = 0;
  drawRows();
}
function sortRows() {
  const value = (row) => (order.key === "goal" ? goalOf(row) : row[order.key]);
  found.sort((a, b) => {
    const x = value(a), y = value(b);
    if (!known(x) || !known(y)) return known(x) ? -1 : known(y) ? 1 : 0; // what is not known comes last
    const less = typeof x === "string" ? x.localeCompare(y) : x - y;
    return order.down ? -less : less;
  });
}
function drawRows() {
  const table = $("episode-table"), pages = Math.max(1, Math.ceil(found.length / PAGE));
  table.tHead.replaceChildren(make("tr", {}, ...COLUMNS.map(([key, label, number]) => {
    const mine = order.key === key, button = make("button", { type: "button" }, label + (mine ? (order.down ? " ▼" : " ▲") : ""));
    button.addEventListener("click", () => { order = { key, down: mine ? !order.down : Boolean(number) }; sortRows(); page = 0; drawRows(); table.tHead.querySelectorAll("button")[COLUMNS.findIndex((c) => c[0] === key)].focus(); });
    return make("th", { scope: "col", class: number ? "n" : undefined, "aria-sort": mine ? (order.down ? "descending" : "ascending") : "none" }, button);
  })));
  table.tBodies[0].replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map((row) => {
    const cells = [row.update, row.task, row.prompt, row.error ? `failed: ${row.error}` : row.response, show(goalOf(row)), known(row.reward) ? signed(row.reward) : "–"];
    const line = make("tr", { tabindex: 0, "aria-selected": String(row === chosen) }, ...cells.map((cell, i) => make("td", { class: COLUMNS[i][2] ? "n" : undefined }, typeof cell === "string" ? cell.slice(0, 160) : cell)));
    line.addEventListener("click", () => choose(row, line));
    line.addEventListener("keydown", (event) => {
      const step = { ArrowDown: line.nextElementSibling, ArrowUp: line.previousElementSibling }[event.key];
      if (step) { step.focus(); event.preventDefault(); }
      if (event.key === "Enter" || event.key === " ") { choose(row, line); event.preventDefault(); }
    });
    return line;
  }));
  $("found").textContent = `${found.length} found`;
  $("page").textContent = `page ${page + 1} of ${pages}`;
  $("previous").disabled = page === 0;
  $("next").disabled = page >= pages - 1;
}
function choose(row, line) {
  chosen = row;
  for (const other of line.parentElement.children) other.setAttribute("aria-selected", String(other === line));
  drawEpisode(row);
}
const block = (title, text, extra = "") => [make("h3", {}, title), make("div", { class: `text ${extra}` }, text || "(empty)")];
function drawEpisode(row) {
  const parts = [make("h3", {}, `Episode ${row.id}`)];
  if (problemsOf(row)) parts.push(...block("Failed", problemsOf(row)));
  parts.push(...block(row.prompt_cut ? "Prompt, cut to the length that the policy reads" : "Prompt", row.prompt));
  if (row.draft) parts.push(...block("Draft", row.draft));
  if ((row.evidence || []).length) parts.push(make("h3", {}, "Evidence, and why it is here"), evidenceTable(row));
  parts.push(...block("Answer", row.response, "answer"));
  if ((row.references || []).length) parts.push(...block("Reference", row.references.join("\n")));
  parts.push(make("h3", {}, known(row.reward) ? `Reward ${signed(row.reward)}: which node paid` : row.part === "train" ? "Not paid: nothing that pays was observed" : "Scores; held-out episodes are not paid"), scoreTable(row));
  $("episode").replaceChildren(...parts);
}
function evidenceTable(row) {
  const head = make("tr", {}, ...["rank", "text", "score", "why"].map((name) => make("th", { scope: "col" }, name)));
  const lines = row.evidence.map((e) => {
    const [title, whole] = store.contexts[e.id] || ["", "(text not kept)"];
    const text = known(e.shown) ? `${Array.from(whole).slice(0, e.shown).join("")} […]` : whole;
    return make("tr", {}, make("td", { class: "n" }, e.rank), make("td", {}, make("strong", {}, title || e.id), make("br"), text), make("td", { class: "n" }, show(e.score)), make("td", {}, e.reason));
  });
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines)));
}
function scoreTable(row) {
  const none = Object.create(null);
  const paid = row.paid || none, imputed = row.imputed || none, gates = row.gates || none, reserved = row.reserved || none;
  const names = nodes.map((n) => n.name).filter((name) => name in row.scores || name in imputed || name in paid || name in reserved);
  const most = Math.max(0.001, ...Object.values(paid).map(Math.abs));
  const head = make("tr", {}, ...["node", "score", "how it is known", "gate", "paid", ""].map((name) => make("th", { scope: "col" }, name)));
  const lines = names.flatMap((name) => {
    const how = name in row.scores ? "measured" : name in reserved ? "reserved: measured, not paid" : "predicted";
    const value = row.scores[name] ?? imputed[name] ?? reserved[name], share = paid[name];
    const bar = known(share) ? make("span", { class: "bar", style: `width:${Math.round(90 * Math.abs(share) / most)}px;background:${share < 0 ? "#ca6208" : "#2171b5"}` }) : "";
    const line = make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "n" }, show(value)), make("td", {}, how), make("td", { class: "n" }, name in gates ? show(gates[name]) : ""), make("td", { class: "n" }, known(share) ? signed(share) : ""), make("td", {}, bar));
    const items = ((row.items || none)[name] || []).map((item) => make("tr", {}, make("td", {}, `${item.title || item.criterion} (weight ${item.weight})`), make("td", { class: "n" }, known(item.score) ? show(item.score) : ""), make("td", {}, known(item.score) ? "item" : "item, not observed"), make("td", {}, ""), make("td", { class: "n" }, known(item.paid) ? signed(item.paid) : ""), make("td", {}, "")));
    const said = (row.rationales || none)[name];
    return [line, ...(said ? [make("tr", {}, make("td", { colspan: 6, class: "note" }, `judge: ${said}`))] : []), ...items];
  });
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines));
}
async function setUpEpisodes() {
  store = await unpack($("episode-data").textContent.trim());
  const parts = [...new Set(store.rows.map((row) => row.part))], tasks = [...new Set(store.rows.map((row) => row.task))];
  $("part").append(...parts.map((part) => make("option", { value: part }, { train: "training (PPO)", before: "held out, before PPO", after: "held out, after PPO" }[part] || part)));
  $("task").append(make("option", { value: "" }, "all"), ...tasks.map((task) => make("option", { value: task }, task)));
  for (const id of ["part", "task", "only"]) $(id).addEventListener("change", search);
  let waiting = 0;
  $("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 120); });
  for (const link of document.querySelectorAll(".to-episode")) {
    link.addEventListener("click", () => { $("part").value = link.dataset.part; $("task").value = ""; $("only").value = ""; $("search").value = link.dataset.episode; search(); });
  }
  $("previous").addEventListener("click", () => { page--; drawRows(); });
  $("next").addEventListener("click", () => { page++; drawRows(); });
  search();
}

drawGraph();
setUpCurves();
setUpEpisodes().then(() => { document.body.dataset.ready = "yes"; }).catch((error) => { $("found").textContent = `The episodes cannot be read: ${error.message}. This needs a browser of 2023 or later.`; console.error(error); });
