import { platform } from "./protobuf/platform.js";

/** Takes a step in the async context (AsyncLocalStorage) in which `snapshot` was called, whoever asks for the step. */
export type InContext = <T>(step: () => T) => T;

const anywhere: InContext = (step) => step();

/** The async context of now, where the platform knows it. */
export function snapshot(): InContext {
  return platform.snapshot?.() ?? anywhere;
}

/** `messages`, drawn in the async context of now: a generator would else run in that of whoever draws. */
export function inContext(messages: AsyncIterable<unknown>): AsyncIterable<unknown> {
  const run = snapshot();
  return {
    [Symbol.asyncIterator]() {
      const iterator = run(() => messages[Symbol.asyncIterator]());
      return {
        next: () => run(() => iterator.next()),
        return: (value?: unknown) =>
          run(() => iterator.return?.(value) ?? Promise.resolve({ done: true, value })),
      };
    },
  };
}
