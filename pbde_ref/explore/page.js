"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const live = data.ask !== null;
const COLOURS = ["#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#a6761d", "#7570b3"];
const LOW = -10, HIGH = 10, DRAFT = 64;
const $ = (id) => document.getElementById(id);
let shown = data.problems[0];
let settings = structuredClone(shown.settings);
let message = "", timing = "", held = null;

// ---- what is asked

async function ask(size, signal) {
  const begun = performance.now();
  const reply = await fetch(data.ask, {
    method: "POST", signal, headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...settings, size }),
  });
  const found = await reply.json();
  if (!reply.ok) throw new Error(reply.status === 409 ? "" : found.error);
  timing = `${size} points in ${Math.round(performance.now() - begun)} ms`;
  return found;
}

let drafting = false, again = false, later = 0, certifying = null;

/** A draft for every change, one at a time; when no more changes come, the certified answer. */
async function changed() {
  fill();
  draw();
  if (drafting) { again = true; return; }
  drafting = true;
  clearTimeout(later);
  if (certifying) certifying.abort();
  try {
    do {
      again = false;
      shown = await ask(Math.min(DRAFT, settings.size));
      message = "";
      show();
    } while (again);
    if (settings.size > DRAFT) later = setTimeout(certify, held ? 400 : 60);
  } catch (error) {
    message = error.message || message;
    show();
  }
  drafting = false;
  if (again) changed();
}

async function certify() {
  const mine = certifying = new AbortController();
  $("state").textContent = `certifying on ${settings.size} points …`;
  $("state").className = "";
  try {
    const found = await ask(settings.size, mine.signal);
    if (mine !== certifying || mine.signal.aborted) return;
    shown = found;
    show();
  } catch (error) {
    if (mine.signal.aborted || !error.message) return;
    message = error.message;
    show();
  }
}

// ---- controls

function options(select, names, titles) {
  select.replaceChildren(...names.map((name, i) => new Option(titles ? titles[i] : name, name)));
}

function listen(id, take) {
  $(id).addEventListener("input", () => { if (take($(id))) changed(); });
}

const finite = (field) => field.value !== "" && Number.isFinite(field.valueAsNumber);
const positive = (field) => finite(field) && field.valueAsNumber > 0;

/** A number, on a logarithmic slider beside it where it must be positive. */
function numberRow(number) {
  const row = document.createElement("label"), field = document.createElement("input");
  const value = () => settings.parameters[number.name] ?? number.value;
  row.append(number.letter);
  if (Array.isArray(number.rule)) {
    const select = document.createElement("select");
    options(select, number.rule);
    select.value = value();
    select.addEventListener("input", () => { settings.parameters[number.name] = select.value; changed(); });
    row.append(select);
    return row;
  }
  const slider = document.createElement("input");
  const logarithmic = number.rule === "positive", whole = number.rule === "whole";
  const most = { "flip probability": 0.45, share: 0.45, whole: 8 }[number.rule] ?? 5;
  Object.assign(slider, { type: "range", step: whole ? 1 : 0.01, min: logarithmic ? -2 : whole ? 2 : 0, max: logarithmic ? 1.5 : most });
  Object.assign(field, { type: "number", step: "any", min: 0, value: value() });
  slider.setAttribute("aria-label", `${number.letter}, roughly`);
  const there = () => { slider.value = logarithmic ? Math.log10(value()) : value(); };
  slider.addEventListener("input", () => {
    const turned = Number(slider.value);
    settings.parameters[number.name] = field.value = logarithmic ? Number((10 ** turned).toPrecision(3)) : turned;
    changed();
  });
  field.addEventListener("input", () => {
    if (!finite(field)) return;
    settings.parameters[number.name] = field.valueAsNumber;
    there();
    changed();
  });
  there();
  row.append(slider, field);
  return row;
}

function lossRows() {
  const loss = data.choices.losses[settings.loss];
  $("formula").textContent = `${loss.title}: ${loss.formula}`;
  $("numbers").replaceChildren(...loss.numbers.map(numberRow));
  $("length-row").hidden = !loss.lengths;
}

function annotatorRows() {
  const body = $("annotators").tBodies[0];
  body.replaceChildren(...settings.annotators.map((_, place) => {
    const row = document.createElement("tr");
    const dot = document.createElement("i");
    dot.style.background = COLOURS[place];
    row.insertCell().append(dot);
    ["weight", "mean", "deviation"].forEach((name, column) => {
      const field = document.createElement("input");
      Object.assign(field, { type: "number", step: column === 1 ? 0.1 : 0.05, name: `${name}-${place}` });
      field.setAttribute("aria-label", `${name} of annotator ${place + 1}`);
      field.addEventListener("input", () => {
        const fine = column === 1 ? finite(field) : column === 0 ? finite(field) && field.valueAsNumber >= 0 : positive(field);
        if (!fine) return;
        settings.annotators[place][column] = field.valueAsNumber;
        changed();
      });
      row.insertCell().append(field);
    });
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `remove annotator ${place + 1}`);
    remove.disabled = settings.annotators.length === 1;
    remove.addEventListener("click", () => { settings.annotators.splice(place, 1); annotatorRows(); changed(); });
    row.insertCell().append(remove);
    return row;
  }));
  $("add").disabled = settings.annotators.length >= COLOURS.length;
}

/** Fields show the settings, but for the one that is being typed in. */
function fill() {
  const set = (field, value) => { if (field && field !== document.activeElement) field.value = value; };
  settings.annotators.forEach((row, place) => ["weight", "mean", "deviation"].forEach((name, column) =>
    set($("controls").elements[`${name}-${place}`], Number(row[column].toFixed(4)))));
  set($("process"), settings.process);
  set($("strength"), settings.strength);
  set($("pairs"), settings.pairs);
  set($("reference-mean"), Number(settings.reference[0].toFixed(4)));
  set($("reference-deviation"), Number(settings.reference[1].toFixed(4)));
  set($("loss"), settings.loss);
  set($("length-ratio"), settings.length_ratio);
  set($("size"), settings.size);
  $("strength-row").hidden = settings.process === "luce";
  for (const radio of document.querySelectorAll("[name=several]")) radio.checked = (radio.value === "yes") === settings.several;
}

function begin() {
  $("hint").textContent = live
    ? "Drag the round handles: a mode sideways, its weight up and down, its width at the small handle. The optimum is exact on the points of the grid."
    : "A fixed set of problems, computed when this file was written; pbde-ref explore lets you drag.";
  $("fixed").hidden = live;
  options($("problem"), data.problems.map((_, i) => i), data.problems.map(title));
  for (const part of document.querySelectorAll("#controls fieldset")) if (part.id !== "fixed") part.hidden = !live;
  $("problem").addEventListener("input", () => {
    shown = data.problems[$("problem").value];
    settings = structuredClone(shown.settings);
    show();
  });
  options($("process"), data.choices.processes, ["Luce rule, Eq. (9)", "DPO's, Eq. (15)", "geometric, Eq. (18)"]);
  options($("pairs"), data.choices.pairs, ["the reference", "all values alike", "the annotators' p*"]);
  const names = Object.keys(data.choices.losses);
  options($("size"), [...new Set([64, 128, 256, settings.size])].sort((a, b) => a - b));
  options($("loss"), names, names.map((name) => name.replaceAll("_", " ")));
  listen("process", (field) => { settings.process = field.value; return true; });
  listen("strength", (field) => positive(field) && (settings.strength = field.valueAsNumber));
  listen("pairs", (field) => { settings.pairs = field.value; return true; });
  listen("reference-mean", (field) => { if (finite(field)) settings.reference[0] = field.valueAsNumber; return finite(field); });
  listen("reference-deviation", (field) => positive(field) && (settings.reference[1] = field.valueAsNumber));
  listen("loss", (field) => { settings.loss = field.value; settings.parameters = {}; lossRows(); return true; });
  listen("length-ratio", (field) => positive(field) && (settings.length_ratio = field.valueAsNumber));
  listen("size", (field) => (settings.size = Number(field.value)));
  for (const radio of document.querySelectorAll("[name=several]"))
    radio.addEventListener("input", () => { settings.several = radio.value === "yes"; changed(); });
  $("add").addEventListener("click", () => { settings.annotators.push([0.5, 0, 1]); annotatorRows(); changed(); });
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("copy").addEventListener("click", copy);
  $("png").addEventListener("click", savePicture);
  $("json").addEventListener("click", () => save(new Blob([JSON.stringify(shown, null, 1)], { type: "application/json" }), "json"));
  for (const [kind, take] of [["pointerdown", take_], ["pointermove", move], ["pointerup", drop], ["pointercancel", drop]])
    $("curves").addEventListener(kind, take);
  new ResizeObserver(draw).observe($("pictures"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  annotatorRows();
  lossRows();
  fill();
  show();
}

// ---- what is shown

const few = (value) => (value === null ? "∞" : value === 0 ? "0" : Math.abs(value) < 1e-3 ? value.toExponential(1) : value.toPrecision(4));

function title(problem) {
  const s = problem.settings;
  const letters = Object.fromEntries(data.choices.losses[s.loss].numbers.map((n) => [n.name, n.letter]));
  const numbers = Object.entries(s.parameters).map(([name, value]) => `${letters[name] ?? name} = ${value}`);
  const who = s.several ? "each annotator alone" : s.process === "luce" ? "" : `annotators with the process ${s.process.replaceAll("_", " ")}`;
  return [`${s.loss.replaceAll("_", " ")}${numbers.length ? " " : ""}${numbers.join(", ")}`, who].filter(Boolean).join("; ");
}

function show() {
  const proved = shown.certificate, state = $("state"), size = shown.settings.size;
  const draft = live && size < settings.size;
  if (message) {
    state.textContent = message;
    state.className = "bad";
  } else {
    const policy = proved.policy_error < 1;
    const verdict = shown.policy === null ? "no policy is best" : !proved.converged ? "not certified" : policy ? "certified" : "loss certified, policy not";
    state.textContent = `${draft ? "draft, " : ""}${verdict} on ${timing || `${size} points`}`;
    state.className = proved.converged && policy ? "good" : "open";
  }
  const distance = (name) => (shown.policy === null ? "–" : few(shown.distances[name]));
  const rows = {
    "expected loss": few(proved.loss),
    "above the least possible by at most": few(proved.gap),
    "policy: total variation from the best": proved.policy_error >= 1 ? "nothing is proved" : `at most ${few(proved.policy_error)}`,
    "total variation from p*": distance("preference"),
    "total variation from the reference": distance("reference"),
    "the only best policy": { true: "yes", false: "no" }[proved.unique] ?? "not known",
    "proved by": proved.proof || "nothing",
    "to know": proved.reason,
  };
  $("certificate").tBodies[0].replaceChildren(...Object.entries(rows).filter(([, text]) => text).map(([name, text]) => {
    const row = document.createElement("tr"), head = document.createElement("th");
    head.textContent = name;
    row.append(head);
    row.insertCell().textContent = text;
    return row;
  }));
  $("python").textContent = shown.python;
  draw();
}

/** Answers of a mixture of annotators, as pixels: x, who is preferred, to the right, y upwards. */
function answers(utilities, shares, colours) {
  const n = utilities[0].length, pixels = new ImageData(n, n);
  const u = utilities.map((row) => row.map((value) => (value === null ? -Infinity : value)));
  for (let y = 0; y < n; y++) for (let x = 0; x < n; x++) {
    let share = 0;
    for (let k = 0; k < u.length; k++) share += shares[k] / (1 + Math.exp(u[k][y] - u[k][x]));
    const place = 4 * ((n - 1 - y) * n + x);
    if (Number.isNaN(share)) continue;
    const end = share < 0.5 ? colours.low : colours.high, far = Math.abs(2 * share - 1);
    for (let c = 0; c < 3; c++) pixels.data[place + c] = colours.even[c] + far * (end[c] - colours.even[c]);
    pixels.data[place + 3] = 255;
  }
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = n;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function theme() {
  const style = getComputedStyle(document.documentElement), found = {};
  for (const name of ["paper", "ink", "faint", "line", "policy", "star", "reference", "low", "even", "high"])
    found[name] = style.getPropertyValue(`--${name}`).trim();
  return found;
}
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const normal = (x, mean, deviation) => Math.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * Math.sqrt(2 * Math.PI));

let frame = null;

function drawCurves(ink, left, top, width, height, colours, handles) {
  const points = shown.grid, step = (points.length - 1) / (HIGH - LOW);
  const per = (row) => row.map((value) => value * step);
  const total = settings.annotators.reduce((sum, row) => sum + row[0], 0) || 1;
  const curves = [];
  settings.annotators.forEach(([weight, mean, deviation], place) => {
    const scale = weight / total / normalMass(mean, deviation);
    curves.push({ at: points.map((x) => scale * normal(x, mean, deviation)), colour: COLOURS[place], wide: 1.3 });
  });
  curves.push({ at: per(shown.reference), colour: colours.reference, wide: 1.6, dash: [2, 3], name: "reference" });
  curves.push({ at: per(shown.preference), colour: colours.star, wide: 1.6, dash: [7, 4], name: "p*" });
  if (shown.policy) curves.push({ at: per(shown.policy), colour: colours.policy, wide: 2.4, fill: true, name: "learnt policy" });
  const peaks = curves.map((curve) => Math.max(...curve.at));
  // One curve that stands on few points must not press the others flat; while a handle is held, the scale stays.
  const most = held ? frame.most : 1.12 * Math.max(...peaks.slice(0, -1), Math.min(peaks.at(-1), 3 * Math.max(...peaks.slice(0, -1))));
  const box = { left: left + 38, top: top + 26, right: left + width - 16, bottom: top + height - 34 };
  const X = (x) => box.left + ((x - LOW) / (HIGH - LOW)) * (box.right - box.left);
  const Y = (y) => box.bottom - (y / most) * (box.bottom - box.top);
  frame = handles ? { box, most } : frame;
  ink.font = "12px system-ui, sans-serif";
  ink.fillStyle = colours.faint;
  ink.strokeStyle = colours.line;
  ink.lineWidth = 1;
  ink.textAlign = "center";
  for (let x = LOW; x <= HIGH; x += 5) {
    ink.beginPath(); ink.moveTo(X(x), box.bottom); ink.lineTo(X(x), box.bottom + 4); ink.stroke();
    ink.fillText(String(x).replace("-", "−"), X(x), box.bottom + 17);
  }
  ink.textAlign = "right";
  const tick = 10 ** Math.floor(Math.log10(most)) * (most / 10 ** Math.floor(Math.log10(most)) >= 4 ? 2 : most / 10 ** Math.floor(Math.log10(most)) >= 2 ? 1 : 0.5);
  for (let y = 0; y <= most; y += tick) {
    ink.beginPath(); ink.moveTo(box.left, Y(y)); ink.lineTo(box.right, Y(y)); ink.stroke();
    ink.fillText(String(Number(y.toPrecision(3))), box.left - 5, Y(y) + 4);
  }
  ink.save();
  ink.beginPath(); ink.rect(box.left, box.top, box.right - box.left, box.bottom - box.top + 1); ink.clip();
  for (const curve of curves) {
    ink.beginPath();
    curve.at.forEach((y, i) => ink[i ? "lineTo" : "moveTo"](X(points[i]), Y(y)));
    ink.strokeStyle = curve.colour;
    ink.lineWidth = curve.wide;
    ink.setLineDash(curve.dash ?? []);
    ink.stroke();
    if (curve.fill) {
      ink.lineTo(X(HIGH), Y(0)); ink.lineTo(X(LOW), Y(0)); ink.closePath();
      ink.globalAlpha = 0.15; ink.fillStyle = curve.colour; ink.fill(); ink.globalAlpha = 1;
    }
  }
  ink.restore();
  ink.setLineDash([]);
  let place = box.left;
  ink.textAlign = "left";
  for (const curve of [...curves].reverse().filter((each) => each.name)) {
    ink.strokeStyle = curve.colour; ink.lineWidth = curve.wide; ink.setLineDash(curve.dash ?? []);
    ink.beginPath(); ink.moveTo(place, top + 12); ink.lineTo(place + 24, top + 12); ink.stroke();
    ink.fillStyle = colours.ink;
    ink.fillText(curve.name, place + 29, top + 16);
    place += 29 + ink.measureText(curve.name).width + 18;
  }
  ink.setLineDash([]);
  if (!handles) return;
  frame.handles = [];
  const handle = (x, y, size, colour, what) => {
    const at = { x: X(Math.min(HIGH, Math.max(LOW, x))), y: Math.max(box.top, Y(y)), what };
    frame.handles.push(at);
    ink.beginPath(); ink.arc(at.x, at.y, size, 0, 2 * Math.PI);
    ink.fillStyle = colour; ink.fill();
    ink.strokeStyle = colours.paper; ink.lineWidth = 1.5; ink.stroke();
  };
  const both = (row, scale, colour, who) => {
    const [mean, deviation] = row.slice(-2);
    handle(mean + deviation, scale * normal(mean + deviation, mean, deviation), 4.5, colour, { row, part: "deviation" });
    handle(mean, scale * normal(mean, mean, deviation), 7, colour, { row, part: "mode", who });
  };
  both(settings.reference, 1 / normalMass(...settings.reference), colours.reference);
  settings.annotators.forEach((row, i) => both(row, row[0] / total / normalMass(row[1], row[2]), COLOURS[i], i));
}

/** What of a normal density the interval holds, summed on the points that are shown. */
function normalMass(mean, deviation) {
  const step = (HIGH - LOW) / (shown.grid.length - 1);
  return Math.max(1e-12, shown.grid.reduce((sum, x) => sum + normal(x, mean, deviation), 0) * step);
}

function drawMap(ink, left, top, width, caption, utilities, shares, colours) {
  const side = width - 40, x = left + 32, y = top + 24;
  ink.fillStyle = colours.ink;
  ink.textAlign = "left";
  ink.font = "12px system-ui, sans-serif";
  ink.fillText(caption, left + 2, top + 14);
  ink.fillStyle = colours.faint;
  if (utilities === null) { ink.fillText("none is best", x + 8, y + 24); return; }
  const tints = { low: rgb(colours.low), even: rgb(colours.even), high: rgb(colours.high) };
  ink.imageSmoothingEnabled = false;
  ink.drawImage(answers(utilities, shares, tints), x, y, side, side);
  ink.strokeStyle = colours.line;
  ink.strokeRect(x, y, side, side);
  for (const value of [-10, -5, 0, 5, 10]) {
    const part = (value - LOW) / (HIGH - LOW), text = String(value).replace("-", "−");
    ink.textAlign = "center"; ink.fillText(text, x + part * side, y + side + 15);
    ink.textAlign = "right"; ink.fillText(text, x - 5, y + side - part * side + 4);
  }
  const bar = ink.createLinearGradient(x, 0, x + side, 0);
  bar.addColorStop(0, colours.low); bar.addColorStop(0.5, colours.even); bar.addColorStop(1, colours.high);
  ink.fillStyle = bar; ink.fillRect(x, y + side + 22, side, 7);
  ink.fillStyle = colours.faint;
  ["0", "P(x ≻ y)", "1"].forEach((text, i) => {
    ink.textAlign = ["left", "center", "right"][i];
    ink.fillText(text, x + (i * side) / 2, y + side + 42);
  });
}

function sized(canvas) {
  const scale = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const ink = canvas.getContext("2d");
  ink.scale(scale, scale);
  return { ink, width, height };
}

function draw() {
  const colours = theme();
  const { ink, width, height } = sized($("curves"));
  drawCurves(ink, 0, 0, width, height, colours, live);
  for (const [id, utilities, shares, caption] of maps()) {
    $(id).style.height = `${$(id).clientWidth + 34}px`;
    const canvas = sized($(id));
    drawMap(canvas.ink, 0, 0, canvas.width, caption, utilities, shares, colours);
  }
}

const maps = () => [
  ["asked", shown.utilities, shown.shares, "annotators answer"],
  ["learnt", shown.log_policy && [shown.log_policy], [1], "the policy, by the Luce rule"],
];

// ---- dragging

const at = (event) => ({ x: event.offsetX, y: event.offsetY });

function nearest({ x, y }) {
  const far = (handle) => Math.hypot(handle.x - x, handle.y - y);
  const [first] = [...(frame.handles ?? [])].reverse().sort((a, b) => far(a) - far(b));
  return first && far(first) < 18 ? first.what : null;
}

function take_(event) {
  if (!live || !(held = nearest(at(event)))) return;
  $("curves").setPointerCapture(event.pointerId);
  event.preventDefault();
}

function move(event) {
  if (!live) return;
  if (!held) { $("curves").style.cursor = nearest(at(event)) ? "grab" : ""; return; }
  const { box, most } = frame, { x, y } = at(event), row = held.row, last = row.length - 1;
  const value = LOW + ((x - box.left) / (box.right - box.left)) * (HIGH - LOW);
  if (held.part === "deviation") {
    row[last] = Math.min(10, Math.max(0.1, Math.abs(value - row[last - 1])));
  } else {
    row[last - 1] = Math.min(HIGH, Math.max(LOW, value));
    const others = settings.annotators.reduce((sum, each) => sum + each[0], 0) - row[0];
    if (held.who !== undefined && others > 0) {
      const high = (most * (box.bottom - y)) / (box.bottom - box.top);
      const share = (high * normalMass(row[1], row[2])) / normal(row[1], row[1], row[2]);
      row[0] = (others * Math.min(0.98, Math.max(0.02, share))) / (1 - Math.min(0.98, Math.max(0.02, share)));
    }
  }
  changed();
}

function drop() {
  if (!held) return;
  held = null;
  // Weights as shares again, and numbers as short as the fields show them.
  const total = settings.annotators.reduce((sum, row) => sum + row[0], 0) || 1;
  settings.annotators = settings.annotators.map(([w, m, s]) => [w / total, m, s].map((v) => Number(v.toFixed(3))));
  settings.reference = settings.reference.map((v) => Number(v.toFixed(3)));
  annotatorRows();
  changed();
}

// ---- what is taken away

function copy() {
  const done = () => { $("copy").textContent = "Copied"; setTimeout(() => { $("copy").textContent = "Copy the Python"; }, 1500); };
  const by = () => {
    getSelection().selectAllChildren($("python"));
    document.execCommand("copy");
    done();
  };
  if (navigator.clipboard) navigator.clipboard.writeText(shown.python).then(done, by); else by();
}

function save(blob, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${shown.settings.loss}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** All three pictures, the problem and the certificate on one sheet, at twice the size. */
function savePicture() {
  const canvas = document.createElement("canvas"), wide = 900, high = 900, scale = 2, colours = theme();
  canvas.width = wide * scale;
  canvas.height = high * scale;
  const ink = canvas.getContext("2d");
  ink.scale(scale, scale);
  ink.fillStyle = colours.paper;
  ink.fillRect(0, 0, wide, high);
  ink.fillStyle = colours.ink;
  ink.font = "600 15px system-ui, sans-serif";
  ink.fillText(title(shown), 12, 24);
  ink.font = "12px system-ui, sans-serif";
  ink.fillStyle = colours.faint;
  ink.fillText(`${$("state").textContent}; loss ${few(shown.certificate.loss)}, gap at most ${few(shown.certificate.gap)}`, 12, 43);
  drawCurves(ink, 0, 54, wide, 350, colours, false);
  maps().forEach(([, utilities, shares, caption], i) => drawMap(ink, 12 + i * 445, 415, 430, caption, utilities, shares, colours));
  canvas.toBlob((blob) => save(blob, "png"), "image/png");
}

begin();
if (live && settings.size > shown.settings.size) certify();
