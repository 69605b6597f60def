// The image that the models see, at its own size: shown, and drawn on.

export class Drawing {
  /**
   * @param canvas,brush elements: the image, and the ring that marks the brush for the keyboard.
   * @param shape [height, width, channels] of the image, with 1 or 3 channels.
   * @param range lowest and highest pixel.
   * @param tool a function that returns `{ erases, colour, width }`, the width in pixels.
   * @param onChange called after something was drawn.
   */
  constructor({ canvas, brush, shape, range, tool, onChange }) {
    Object.assign(this, { canvas, brush, shape, range, tool, onChange });
    [canvas.height, canvas.width] = shape;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.place = { x: canvas.width / 2, y: canvas.height / 2 };
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.follow(event));
    canvas.addEventListener("keydown", (event) => this.press(event));
    this.clear();
    this.moveBrush();
  }

  /** Show raw pixels `[height * width * channels]`, which `pixels` then returns as they are. */
  show(pixels) {
    this.pixels = Float32Array.from(pixels);
    paint(this.canvas, this.pixels, this.shape, this.range);
  }

  clear() {
    this.show(new Float32Array(this.shape.reduce((one, other) => one * other)).fill(this.range[0]));
  }

  begin(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.place = this.placeOf(event);
    this.stroke(this.place);
  }

  follow(event) {
    if (!this.canvas.hasPointerCapture(event.pointerId)) return;
    // A fast pointer visits more places than the page is told of one by one.
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.stroke(this.placeOf(each));
  }

  press(event) {
    const [x, y] = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0],
    }[event.key] ?? [];
    if (x === undefined) return;
    event.preventDefault();
    const inside = (value, size) => Math.min(size - 0.5, Math.max(0.5, value));
    const place = {
      x: inside(this.place.x + x, this.canvas.width),
      y: inside(this.place.y + y, this.canvas.height),
    };
    if (event.shiftKey || event.key === " ") this.stroke(place);
    this.place = place;
    this.moveBrush();
  }

  /** Draw from where the brush is to a place, and read the image back. */
  stroke(place) {
    const { erases, colour, width } = this.tool();
    const { context } = this;
    context.strokeStyle = context.fillStyle = erases ? "#000000" : colour;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(this.place.x, this.place.y);
    context.lineTo(place.x, place.y);
    context.stroke();
    // The round end, which a line of no length (a tap) has not.
    context.beginPath();
    context.arc(place.x, place.y, width / 2, 0, 2 * Math.PI);
    context.fill();
    this.place = place;
    this.moveBrush();
    this.pixels = this.read();
    this.onChange();
  }

  read() {
    const [height, width, channels] = this.shape;
    const [low, high] = this.range;
    const { data } = this.context.getImageData(0, 0, width, height);
    return Float32Array.from({ length: height * width * channels }, (_, place) => {
      const level = data[4 * Math.floor(place / channels) + (place % channels)];
      return low + (level * (high - low)) / 255;
    });
  }

  placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) * this.canvas.width) / box.width,
      y: ((event.clientY - box.top) * this.canvas.height) / box.height,
    };
  }

  moveBrush() {
    const share = (value, size) => `${(100 * value) / size}%`;
    const { style } = this.brush;
    style.left = share(this.place.x, this.canvas.width);
    style.top = share(this.place.y, this.canvas.height);
    style.width = share(this.tool().width, this.canvas.width);
    style.height = share(this.tool().width, this.canvas.height);
  }
}

/** Paint raw pixels on a canvas of the image's size, the range stretched to black and white. */
export function paint(canvas, pixels, [height, width, channels], [low, high]) {
  [canvas.height, canvas.width] = [height, width];
  const image = new ImageData(width, height);
  for (let place = 0; place < height * width; place++) {
    for (let channel = 0; channel < 3; channel++) {
      const pixel = pixels[place * channels + (channel % channels)];
      image.data[4 * place + channel] = (255 * (pixel - low)) / (high - low);
    }
    image.data[4 * place + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}
