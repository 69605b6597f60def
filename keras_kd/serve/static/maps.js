// The page of maps: an image, and what teacher, student and control say of each of its pixels.

import { paint } from "./drawing.js";
import { LiteRTFile, loadRuntime } from "./litert.js";

const BEFORE = ["teacher", "student_alone"]; // What they said lies on the server.

const element = (id) => document.getElementById(id);

let description, images, student;
const said = {};
let index = 0;

/** The student's logits for the image that is shown; for tests too. */
export let shown = null;

async function start() {
  description = await (await fetched("description.json")).json();
  element("title").textContent = description.title;
  document.title = `${description.title} · keras_kd`;
  images = await parts("images", description.count);
  for (const who of BEFORE) said[who] = await parts(who, description.count);
  await loadRuntime();
  student = await LiteRTFile.open(`models/${encodeURIComponent(description.file.name)}`, description.file);
  const time = student.milliseconds(images[0]);
  const kilobytes = Math.round(description.file.bytes / 1000);
  element("about").textContent = `${kilobytes} KB, ${time.toPrecision(2)} ms an image in this browser`;
  element("index").max = description.count - 1;
  element("index").addEventListener("change", () => show(Number(element("index").value)));
  element("previous").addEventListener("click", () => show(index - 1));
  element("next").addEventListener("click", () => show(index + 1));
  element("own").addEventListener("change", (event) => open(event.target.files[0]));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    open(event.dataTransfer.files[0]);
  });
  show(0);
}

async function fetched(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} could not be fetched (${response.status}).`);
  return response;
}

async function parts(name, count) {
  const all = new Uint8Array(await (await fetched(name)).arrayBuffer());
  const size = all.length / count;
  return Array.from({ length: count }, (_, place) => all.subarray(place * size, (place + 1) * size));
}

function show(place) {
  index = ((Math.trunc(place) || 0) + images.length) % images.length;
  element("index").value = index;
  element("shown").textContent = `Test image ${index}`;
  answer(images[index]);
  for (const who of BEFORE) drawMap(who, said[who][index]);
}

const open = (file) => file && showOwn(file).catch(() => {
  element("shown").textContent = `${file.name} is no picture that this browser reads.`;
});

/** Show the largest square in the middle of a picture, as small as the student takes it. */
async function showOwn(file) {
  const picture = await createImageBitmap(file);
  const [height, width] = description.shape;
  const scale = Math.min(picture.width / width, picture.height / height);
  const [across, down] = [scale * width, scale * height];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(
    picture, (picture.width - across) / 2, (picture.height - down) / 2, across, down, 0, 0, width, height,
  );
  const { data } = context.getImageData(0, 0, width, height);
  answer(Uint8Array.from({ length: 3 * width * height }, (_, place) => data[4 * Math.floor(place / 3) + (place % 3)]));
  for (const who of BEFORE) drawMap(who, new Uint8Array(width * height));
  element("shown").textContent = `${file.name}, its middle`;
}

function answer(pixels) {
  paint(element("image"), pixels, description.shape, [0, 255]);
  shown = student.logits(pixels);
  drawMap("student", shown.map((logit) => 255 / (1 + Math.exp(-logit))));
}

function drawMap(who, levels) {
  const [height, width] = description.shape;
  paint(element(who), levels, [height, width, 1], [255, 0]);
}

start().catch((error) => {
  element("problem").textContent = `The page cannot go on. ${error.message ?? error}`;
  element("problem").hidden = false;
  console.error(error);
});
