/** Text of up to this many bytes is tried as ASCII in JavaScript, below the cost of a call to the platform. */
export const SHORT_TEXT = 24;

/** `memory[start..end)` as text if all of it is ASCII. Several characters at a time cost little more than one. */
export function shortAscii(memory: Uint8Array, start: number, end: number): string | undefined {
  let text = "";
  let i = start;
  for (; i + 8 <= end; i += 8) {
    const a = memory[i];
    const b = memory[i + 1];
    const c = memory[i + 2];
    const d = memory[i + 3];
    const e = memory[i + 4];
    const f = memory[i + 5];
    const g = memory[i + 6];
    const h = memory[i + 7];
    if ((a | b | c | d | e | f | g | h) > 0x7f) return undefined;
    text += String.fromCharCode(a, b, c, d, e, f, g, h);
  }
  if (i + 4 <= end) {
    const a = memory[i];
    const b = memory[i + 1];
    const c = memory[i + 2];
    const d = memory[i + 3];
    if ((a | b | c | d) > 0x7f) return undefined;
    text += String.fromCharCode(a, b, c, d);
    i += 4;
  }
  if (i + 2 <= end) {
    const a = memory[i];
    const b = memory[i + 1];
    if ((a | b) > 0x7f) return undefined;
    text += String.fromCharCode(a, b);
    i += 2;
  }
  if (i < end) {
    const a = memory[i];
    if (a > 0x7f) return undefined;
    text += String.fromCharCode(a);
  }
  return text;
}
