// Texts <-> numbers, as `keras_kd.data.encode_texts` has them: the first bytes of UTF-8, then 0.

/**
 * Return the first bytes of a text, as numbers; `null` if there is nothing in it.
 * @param text a string.
 * @param count how many numbers a model takes.
 */
export function encoded(text, count) {
  const bytes = new TextEncoder().encode(text.trim().replaceAll("\0", ""));
  if (!bytes.length) return null;
  let end = Math.min(bytes.length, count);
  // Not in the middle of a character.
  while (end < bytes.length && (bytes[end] & 0xc0) === 0x80) end--;
  const found = new Float32Array(count);
  found.set(bytes.subarray(0, end));
  return { numbers: found, read: end, of: bytes.length };
}

/** Return the text of such numbers. */
export function decoded(numbers) {
  return new TextDecoder().decode(Uint8Array.from(numbers).filter((each) => each !== 0));
}
