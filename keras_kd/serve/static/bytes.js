// A file -> the bytes at its two ends, as `keras_kd.data.files` reads them.

/**
 * Return the bytes at the two ends of a file, as numbers; `null` if there are too few.
 * @param file a `Blob`.
 * @param description `{ block, kept, padding, fewest }`.
 */
export async function endsOf(file, { block, kept, padding, fewest }) {
  const part = async (from, to) => new Uint8Array(await file.slice(from, to).arrayBuffer());
  const first = await part(0, block);
  const last = await part(Math.max(0, file.size - block), file.size);
  const begin = first.findIndex((each) => !isSpace(each));
  const end = last.findLastIndex((each) => !isSpace(each)) + 1;
  const head = begin < 0 ? [] : first.subarray(begin, begin + kept);
  if (head.length < fewest) return null;
  const tail = last.subarray(Math.max(0, end - kept), end);
  const found = new Float32Array(2 * kept).fill(padding);
  found.set(head);
  found.set(tail, 2 * kept - tail.length);
  return found;
}

/** Return whether a byte is white space to Python's `bytes.strip`. */
function isSpace(byte) {
  return byte === 32 || (byte >= 9 && byte <= 13);
}
