/**
 * The platform's streams as sources of messages, known by their shape: nothing here is of Node. What ends their own async iterators, which are
 * generators, waits for the message that is awaited, or does nothing if there was none yet; here a stream ends at once, whatever it does.
 */
import { DONE } from "./message-queue.js";

/** As much of Node's Readable as is needed. */
interface NodeStream extends AsyncIterable<unknown> {
  on(event: "error", listener: () => void): unknown;
  pipe(destination: unknown): unknown;
  destroy(): unknown;
}

/** What draws messages from `source` if that is a stream. Throws if it is one that somebody else reads. */
export function streamIterator(source: object): AsyncIterator<unknown> | undefined {
  if (isNodeStream(source)) return new NodeStreamIterator(source);
  if (isWebStream(source)) return new WebStreamIterator(source);
  return undefined;
}

/** Much else may have `destroy`, and live longer than one iteration. */
function isNodeStream(source: object): source is NodeStream {
  const { destroy, on, pipe } = source as Partial<NodeStream>;
  const isStream = typeof destroy === "function" && typeof on === "function" && typeof pipe === "function";
  return isStream && Symbol.asyncIterator in source;
}

function isWebStream(source: object): source is ReadableStream {
  return typeof (source as Partial<ReadableStream>).getReader === "function";
}

class NodeStreamIterator implements AsyncIterator<unknown, undefined> {
  readonly #stream: NodeStream;
  readonly #messages: AsyncIterator<unknown, undefined>;

  constructor(stream: NodeStream) {
    this.#stream = stream;
    this.#messages = stream[Symbol.asyncIterator]() as AsyncIterator<unknown, undefined>;
    // `next` tells of its failure; before the first `next`, and after the end, it would be nobody's, and end the process.
    stream.on("error", ignore);
  }

  next(): Promise<IteratorResult<unknown, undefined>> {
    return this.#messages.next();
  }

  async return(): Promise<IteratorResult<unknown, undefined>> {
    this.#stream.destroy();
    await this.#messages.return?.();
    return DONE;
  }
}

class WebStreamIterator implements AsyncIterator<unknown, undefined> {
  readonly #reader: ReadableStreamDefaultReader<unknown>;

  constructor(stream: ReadableStream) {
    this.#reader = stream.getReader();
  }

  next(): Promise<IteratorResult<unknown, undefined>> {
    return this.#reader.read() as Promise<IteratorResult<unknown, undefined>>;
  }

  async return(): Promise<IteratorResult<unknown, undefined>> {
    await this.#reader.cancel();
    return DONE;
  }
}

function ignore(): void {}
