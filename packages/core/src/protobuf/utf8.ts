/** Text and its UTF-8 bytes: the one thing of the platform that encoding messages needs. */
export interface Utf8 {
  /**
   * Write `text` as UTF-8 to `memory[start..end)`. A lone surrogate becomes U+FFFD.
   * Returns the number of bytes written, or -1 when they do not fit (what was written is then undefined).
   */
  encodeInto(text: string, memory: Uint8Array, start: number, end: number): number;
  /** The text of `memory[start..end)`. A byte-order mark is text. Throws when the bytes are not valid UTF-8. */
  decode(memory: Uint8Array, start: number, end: number): string;
}

// TextEncoder and TextDecoder are part of every JavaScript runtime, though not of the language's own typings.
declare const TextEncoder: new () => {
  encodeInto(text: string, destination: Uint8Array): { read: number; written: number };
};
declare const TextDecoder: new (
  label: string,
  options: { fatal: boolean; ignoreBOM: boolean },
) => { decode(bytes: Uint8Array): string };

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** UTF-8 by TextEncoder and TextDecoder, which every runtime has. */
export const portableUtf8: Utf8 = {
  encodeInto(text, memory, start, end) {
    const { read, written } = encoder.encodeInto(text, memory.subarray(start, end));
    return read === text.length ? written : -1;
  },
  decode(memory, start, end) {
    return decoder.decode(memory.subarray(start, end));
  },
};

/** What writers and readers use. */
export let utf8: Utf8 = portableUtf8;

/** Make every writer and reader use `codec`: a runtime's package installs the fastest that its platform has. */
export function installUtf8(codec: Utf8): void {
  utf8 = codec;
}
