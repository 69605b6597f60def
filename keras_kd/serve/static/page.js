// The page: an image, what teacher and student say of it, and where they differ.

import { endsOf } from "./bytes.js";
import { Drawing, paint } from "./drawing.js";
import { LiteRTFile, loadRuntime } from "./litert.js";
import { decoded, encoded } from "./texts.js";

const GRID_STEP = 48;
const FEW_CLASSES = 20; // Of more, those are listed that somebody gives a hundredth.
const BREATH = 30; // Milliseconds of computing, after which the browser may answer its user.
// What a model is asked about, what it is called among the test data, and what is asked for.
const READS = {
  images: { one: "an image", test: "Test image", own: "A drawing of yours" },
  texts: { one: "a text", test: "Test text", wanted: "Type some words." },
  files: { one: "a file", test: "Test file", wanted: "Choose a file, or drop one here." },
};

const element = (id) => document.getElementById(id);

let description, images, drawing, student, teacher;
let labels, teacherLogits;
let index = null; // Of the test image that is shown, or null while a drawing is.
let files = 0; // Files opened so far: what an older one was still at is given up.
let differing = [];
let reads; // One of `READS`.
let own = null; // What is said of the user's file or text that is shown, if one is asked for.

/** The student's logits for the test images, as far as they are computed; for tests too. */
export let studentLogits = [];

/** The student's and the teacher's logits for the image that is shown; for tests too. */
export let shown = { student: null, teacher: null };

async function start() {
  description = await (await fetched("description.json")).json();
  reads = READS[description.reads];
  own = reads.own ?? null;
  element("title").textContent = description.title;
  document.title = `${description.title} · keras_kd`;
  await Promise.all([loadRuntime(), loadImages()]);
  if (description.teacher?.runs_in_browser) {
    teacher = await LiteRTFile.open("models/teacher", description.teacher);
  }
  buildBars();
  buildDrawing();
  buildFiles();
  if (description.reads === "files") buildOwnFile();
  if (description.reads === "texts") buildOwnText();
  if (images) buildTestImages();
  await openFile();
}

async function loadImages() {
  if (!description.images) return;
  const { count, dtype } = description.images;
  const bytes = await (await fetched("images")).arrayBuffer();
  const all = dtype === "uint8" ? new Uint8Array(bytes) : new Float32Array(bytes);
  const size = all.length / count;
  images = Array.from({ length: count }, (_, place) => all.subarray(place * size, (place + 1) * size));
  labels = new Int32Array(await (await fetched("labels")).arrayBuffer());
  if (description.teacher) {
    const logits = new Float32Array(await (await fetched("teacher_logits")).arrayBuffer());
    const classes = description.class_names.length;
    teacherLogits = images.map((_, place) => logits.subarray(place * classes, (place + 1) * classes));
  }
}

async function fetched(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} could not be fetched (${response.status}).`);
  return response;
}

// The file, and its answers to all test images.

function buildFiles() {
  const select = element("file");
  select.replaceChildren(...description.files.map((file) => new Option(file.name)));
  select.disabled = false;
  select.addEventListener("change", () => openFile().catch(report));
}

async function openFile() {
  const opening = ++files;
  const file = description.files[element("file").selectedIndex];
  element("about").textContent = `Loading ${file.name} …`;
  const opened = await LiteRTFile.open(`models/${encodeURIComponent(file.name)}`, file);
  if (opening !== files) return opened.close();
  student?.close();
  student = opened;
  const time = student.milliseconds(drawing.pixels);
  element("about").textContent =
    `${counted(Math.round(file.bytes / 1000))} KB, ${file.quantization ?? "float32"}, ` +
    `${time.toPrecision(2)} ms ${reads.one} in this browser`;
  // Of a text that was typed the time is the file's.
  if (description.reads === "texts" && index === null) readText();
  else answer();
  if (images) await answerAll(opening);
}

async function answerAll(opening) {
  studentLogits = [];
  differing = [];
  element("differences").hidden = false;
  element("grid").replaceChildren();
  let paused = performance.now();
  for (const image of images) {
    studentLogits.push(student.logits(image));
    if (performance.now() - paused < BREATH) continue;
    element("summary").textContent =
      `Running ${counted(studentLogits.length)} of ${counted(images.length)} test ${description.reads} …`;
    await new Promise((resume) => setTimeout(resume));
    if (opening !== files) return;
    paused = performance.now();
  }
  summarise();
}

// The image.

function buildDrawing() {
  const [, , channels] = description.image_shape;
  element("colour-label").hidden = channels === 1;
  drawing = new Drawing({
    canvas: element("canvas"),
    brush: element("brush"),
    shape: description.image_shape,
    range: description.range,
    tool: () => ({
      erases: document.querySelector("[name=tool]:checked").value === "erase",
      colour: element("colour").value,
      width: Number(element("width").value),
    }),
    onChange: leaveTestImage,
  });
  element("width").addEventListener("input", () => drawing.moveBrush());
  element("clear").addEventListener("click", () => {
    drawing.clear();
    leaveTestImage();
  });
}

// The bytes of a file of the user's own: they stay on this page.

function buildOwnFile() {
  element("own").hidden = false;
  element("tools").hidden = true;
  element("drawing-hint").hidden = true;
  element("image-heading").textContent = "The bytes looked at";
  element("canvas").setAttribute("aria-label", "The bytes that the models see");
  element("own-file").addEventListener("change", (event) => open(event.target.files[0]));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    open(event.dataTransfer.files[0]);
  });
  const open = (file) => file && showFile(file).catch(report);
}

async function showFile(file) {
  const bytes = await endsOf(file, description.bytes);
  if (bytes === null) {
    element("verdict").textContent =
      `${file.name} holds fewer than ${description.bytes.fewest} bytes: nothing can be told.`;
    return;
  }
  drawing.show(bytes);
  const seen = bytes.filter((each) => each !== description.bytes.padding).length;
  const times = [["Student", student], ["Teacher", teacher]]
    .filter(([, model]) => model)
    .map(([who, model]) => `${who} ${millisecondsOf(() => model.logits(bytes)).toPrecision(2)} ms`);
  own = `${file.name}: ${counted(seen)} bytes looked at of ${counted(file.size)}. ${times.join(", ")}`;
  leaveTestImage();
}

// A text of the user's own.

function buildOwnText() {
  element("own-text-row").hidden = false;
  for (const name of ["stage", "tools", "drawing-hint"]) element(name).hidden = true;
  element("image-heading").textContent = "The text";
  element("own-text").addEventListener("input", readText);
}

function readText() {
  const [, count] = description.image_shape;
  const found = encoded(element("own-text").value, count);
  own = null;
  if (found !== null) {
    drawing.show(found.numbers);
    const each = millisecondsOf(() => student.logits(found.numbers));
    own =
      `${counted(found.read)} bytes read of ${counted(found.of)}. ` +
      `Student ${each.toPrecision(2)} ms, ${counted(Math.round(1000 / each))} texts a second`;
  }
  leaveTestImage();
}

/** Return the median milliseconds of five calls. */
function millisecondsOf(call) {
  const times = Array.from({ length: 5 }, () => {
    const start = performance.now();
    call();
    return performance.now() - start;
  });
  return times.sort((one, other) => one - other)[2];
}

function leaveTestImage() {
  index = null;
  answer();
}

function buildTestImages() {
  const { count } = description.images;
  element("test-images").hidden = false;
  element("index").max = count - 1;
  element("index").addEventListener("change", () => show(Number(element("index").value)));
  element("previous").addEventListener("click", () => show((index ?? 0) - 1));
  element("next").addEventListener("click", () => show((index ?? -1) + 1));
  element("any").addEventListener("click", () => show(Math.floor(count * Math.random())));
  index = 0;
  showTestImage();
}

function showTestImage() {
  drawing.show(images[index]);
  if (description.reads === "texts") element("own-text").value = decoded(images[index]);
}

function show(place) {
  if (!Number.isInteger(place)) place = 0;
  index = (place + images.length) % images.length;
  element("index").value = index;
  showTestImage();
  answer();
}

// What the models say.

function buildBars() {
  element("bars").replaceChildren(...description.class_names.map((name) => {
    const row = document.createElement("tr");
    const heading = Object.assign(document.createElement("th"), { scope: "row", textContent: name });
    const bars = document.createElement("td");
    const numbers = Object.assign(document.createElement("td"), { className: "number" });
    for (const who of players()) {
      bars.append(Object.assign(document.createElement("div"), { className: `bar ${who}` }));
      numbers.append(Object.assign(document.createElement("div"), { className: who }));
    }
    row.append(heading, bars, numbers);
    return row;
  }));
  document.querySelector(".key.teacher").hidden = !description.teacher;
  element("temperature").addEventListener("input", drawBars);
}

function players() {
  return description.teacher ? ["teacher", "student"] : ["student"];
}

function answer() {
  if (index === null && own === null) {
    shown = { student: null, teacher: null };
    element("verdict").textContent = reads.wanted;
    element("shown").textContent = "";
    drawBars();
    return;
  }
  shown = { student: student.logits(drawing.pixels), teacher: teacherAnswer() };
  drawBars();
  const name = (logits) => description.class_names[largest(logits)];
  const label = index === null ? null : description.class_names[labels[index]];
  element("shown").textContent =
    label === null ? own : `${reads.test} ${index}: ${label}`;
  element("verdict").textContent = players()
    .filter((who) => shown[who])
    .map((who) => `${capitalised(who)}: ${name(shown[who])}`)
    .join(" · ");
  element("teacher-note").hidden = !description.teacher || shown.teacher !== null;
  element("teacher-note").textContent =
    `The teacher answers for test images only: it cannot run in the browser. ${description.teacher?.reason}`;
  markShown();
}

function teacherAnswer() {
  if (index !== null && teacherLogits) return teacherLogits[index];
  return teacher?.logits(drawing.pixels) ?? null;
}

function drawBars() {
  const temperature = Number(element("temperature").value);
  element("temperature-value").textContent = temperature.toFixed(1);
  const likeliest = shown.student && largest(shown.student);
  for (const who of players()) {
    const probabilities = shown[who] && softmax(shown[who], temperature);
    description.class_names.forEach((_, place) => {
      const row = element("bars").rows[place];
      const share = probabilities ? probabilities[place] : 0;
      row.classList.toggle("likeliest", place === likeliest);
      row.querySelector(`.bar.${who}`).style.width = `${100 * share}%`;
      row.querySelector(`.number .${who}`).textContent =
        probabilities ? (100 * share).toFixed(1) : "–";
    });
  }
  hideTheUnlikely();
}

/** Hide the classes that nobody thinks of, where there are many. */
function hideTheUnlikely() {
  const rows = element("bars").rows;
  if (rows.length <= FEW_CLASSES) return;
  for (const row of rows) {
    const shares = [...row.querySelectorAll(".bar")].map((bar) => parseFloat(bar.style.width) || 0);
    row.hidden = Math.max(...shares) < 1;
  }
}

function softmax(logits, temperature) {
  const highest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  const sum = powers.reduce((one, other) => one + other);
  return powers.map((power) => power / sum);
}

function counted(number) {
  return number.toLocaleString("en");
}

function capitalised(word) {
  return word[0].toUpperCase() + word.slice(1);
}

function largest(values) {
  return values.indexOf(Math.max(...values));
}

// Where they differ.

function summarise() {
  const { name, count, total } = description.images;
  const percent = (number) => `${((100 * number) / count).toFixed(2)} %`;
  const right = (logits) =>
    percent(logits.filter((each, place) => largest(each) === labels[place]).length);
  const which = count < total ? `the first ${counted(count)} of ` : "";
  const facts = [`On ${which}${counted(total)} test ${description.reads} of ${name}: student ${right(studentLogits)} right`];
  if (teacherLogits) {
    differing = [...images.keys()].filter(
      (place) => largest(studentLogits[place]) !== largest(teacherLogits[place]),
    );
    facts.push(`teacher ${right(teacherLogits)}`);
    facts.push(`they differ on ${counted(differing.length)} (${percent(differing.length)})`);
  } else {
    element("differences-heading").textContent = `On the test ${description.reads}`;
  }
  element("summary").textContent = `${facts.join(", ")}.`;
  element("more").onclick = growGrid;
  growGrid();
}

function growGrid() {
  const grid = element("grid");
  const from = grid.children.length;
  grid.append(...differing.slice(from, from + GRID_STEP).map(thumbnail));
  element("more").hidden = grid.children.length >= differing.length;
  markShown();
}

function thumbnail(place) {
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.dataset.index = place;
  const names = [
    ["teacher", teacherLogits[place]],
    ["student", studentLogits[place]],
  ].map(([who, logits]) => {
    const text = `${who}: ${description.class_names[largest(logits)]}`;
    return Object.assign(document.createElement("span"), { className: `name ${who}`, textContent: text });
  });
  const label = `label: ${description.class_names[labels[place]]}`;
  names.push(Object.assign(document.createElement("span"), { className: "name", textContent: label }));
  button.append(pictured(images[place]), ...names);
  button.addEventListener("click", () => {
    show(place);
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    element("image-heading").scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  });
  return button;
}

/** Return an image as an element; of a text, its words. */
function pictured(image) {
  if (description.reads === "texts") {
    return Object.assign(document.createElement("span"), { className: "text", textContent: decoded(image) });
  }
  const canvas = document.createElement("canvas");
  paint(canvas, image, description.image_shape, description.range);
  return canvas;
}

function markShown() {
  for (const button of element("grid").children) {
    button.setAttribute("aria-current", String(Number(button.dataset.index) === index));
  }
}

function report(error) {
  element("problem").textContent = `The page cannot go on. ${error.message ?? error}`;
  element("problem").hidden = false;
  console.error(error);
}

start().catch(report);
