/** What writers, readers and calls take of the platform, because JavaScript alone has it only slower or not at all. */
export interface Platform {
  /**
   * Write `text` as UTF-8 to `memory[start..end)`. A lone surrogate becomes U+FFFD.
   * Returns the number of bytes written, or -1 when they do not fit (what was written is then undefined).
   */
  encodeUtf8(text: string, memory: Uint8Array, start: number, end: number): number;
  /** The text of `memory[start..end)`. A byte-order mark is text. Throws when the bytes are not valid UTF-8. */
  decodeUtf8(memory: Uint8Array, start: number, end: number): string;
  /** Memory of its own, whose content is undefined: it will be written before it is read. */
  allocate(bytes: number): Uint8Array;
  /**
   * Memory for the bytes fields of many messages, which share it. It must not be possible to transfer it, by which the
   * owner of one field would take away all others. A platform that cannot promise that leaves this out; then each field
   * has memory of its own, which takes 300 ns more.
   */
  allocatePool?(bytes: number): Uint8Array;
  /** What runs functions in the async context (AsyncLocalStorage) of now. Left out where there is none. */
  snapshot?(): <T>(run: () => T) => T;
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

/** What every JavaScript runtime has. */
export const portablePlatform: Platform = {
  encodeUtf8(text, memory, start, end) {
    const { read, written } = encoder.encodeInto(text, memory.subarray(start, end));
    return read === text.length ? written : -1;
  },
  decodeUtf8(memory, start, end) {
    return decoder.decode(memory.subarray(start, end));
  },
  allocate: (bytes) => new Uint8Array(bytes),
};

/** What is used. */
export let platform: Platform = portablePlatform;

/** Make everything use `installed`: a runtime's package gives what is fastest there. */
export function installPlatform(installed: Platform): void {
  platform = installed;
}
