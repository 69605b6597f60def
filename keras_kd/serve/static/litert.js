// A `.tflite` file in LiteRT's WebAssembly runtime, one image a call.
//
// NOTE: images and logits pass through the package's lower level (`liteRtWasm`), as its own
// `Tensor` knows float32, int32 and uint8, while integer files take and return int8 or int16.

import { loadLiteRt } from "@litertjs/core";

const ARRAYS = {
  float32: Float32Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
};
const LIMITS = { uint8: [0, 255], int8: [-128, 127], int16: [-32768, 32767] };

let liteRt;

export async function loadRuntime() {
  // The runtime writes what it does to the console's errors.
  self.Module = { printErr: (text) => console.debug(text) };
  liteRt = await loadLiteRt("./vendor/");
}

export class LiteRTFile {
  /**
   * Fetch and compile a file.
   * @param url where it is.
   * @param description what `keras_kd.export.embedded` says of it.
   */
  static async open(url, description) {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url} could not be fetched (${response.status}).`);
    return new LiteRTFile(new Uint8Array(await response.arrayBuffer()), description);
  }

  constructor(bytes, { input, output }) {
    const wasm = liteRt.liteRtWasm;
    const environment = liteRt.getDefaultEnvironment();
    this.input = input;
    this.output = output;
    this.pointer = wasm._malloc(bytes.length);
    wasm.HEAPU8.set(bytes, this.pointer);
    const native = environment.liteRtEnvironment;
    this.model = wasm.loadModel(native, this.pointer, bytes.length);
    this.compiled = wasm.compileModel(native, this.model, {
      environment,
      accelerator: "wasm",
      cpuOptions: { numThreads: 1 },
      gpuOptions: {},
      webNNOptions: {},
    });
    const signature = this.model.getSignature(0);
    this.outputIndex = listed(signature.outputNames()).indexOf(output.name);
    signature.delete();
    const type = this.model.getInputTensorType(0, 0);
    this.image = wasm.LiteRtTensorBuffer.createManaged(
      native, wasm.LiteRtTensorBufferType.HOST_MEMORY, type, type.bytes(),
    );
    type.delete();
  }

  /** Return the logits (Float32Array) of raw pixels. */
  logits(pixels) {
    this.feed(pixels);
    const results = this.compiled.run(0, [this.image]);
    const logits = dequantized(this.read(results[this.outputIndex]), this.output);
    for (const result of results) result.delete();
    return logits;
  }

  /** Return the median milliseconds of one run, of 50 blocks of runs after a warm-up. */
  milliseconds(pixels) {
    this.feed(pixels);
    const run = () => {
      for (const result of this.compiled.run(0, [this.image])) result.delete();
    };
    const begun = performance.now();
    let blockSize = 0;
    // A tenth of what 20 ms hold: 2 ms, far above the clock's own steps.
    for (; performance.now() - begun < 20; blockSize += 0.1) run();
    const times = Array.from({ length: 50 }, () => {
      const start = performance.now();
      for (let count = 0; count < blockSize; count++) run();
      return (performance.now() - start) / Math.ceil(blockSize);
    });
    return times.sort((one, other) => one - other)[25];
  }

  feed(pixels) {
    const wasm = liteRt.liteRtWasm;
    const values = quantized(pixels, this.input);
    const pointer = this.image.lock(wasm.LiteRtTensorBufferLockMode.WRITE);
    wasm.HEAPU8.set(new Uint8Array(values.buffer), pointer);
    this.image.unlock();
  }

  read(result) {
    const wasm = liteRt.liteRtWasm;
    const pointer = result.lock(wasm.LiteRtTensorBufferLockMode.READ);
    const bytes = wasm.HEAPU8.slice(pointer, pointer + result.packedSize());
    result.unlock();
    return new ARRAYS[this.output.dtype](bytes.buffer);
  }

  /** Give the memory back, which WebAssembly does not do by itself. */
  close() {
    for (const owner of [this.image, this.compiled, this.model]) owner.delete();
    liteRt.liteRtWasm._free(this.pointer);
  }
}

/** Return real values as a tensor holds them: `round(values / scale) + zero_point`, in float32. */
export function quantized(values, { dtype, scale, zero_point }) {
  if (!scale) return ARRAYS[dtype].from(values);
  const [lowest, highest] = LIMITS[dtype];
  return ARRAYS[dtype].from(values, (value) => {
    const integer = roundedToEven(Math.fround(value / Math.fround(scale))) + zero_point;
    return Math.min(highest, Math.max(lowest, integer));
  });
}

/** Return the real values of a tensor: `scale * (values - zero_point)`, in float32. */
export function dequantized(values, { scale, zero_point }) {
  if (!scale) return values;
  return Float32Array.from(values, (value) => Math.fround(scale) * (value - zero_point));
}

/** Round as NumPy does: a half goes to the even neighbour. */
function roundedToEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

function listed(vector) {
  return Array.from({ length: vector.size() }, (_, place) => vector.get(place));
}
