/** A time is waited for in this many parts. */
const PARTS = 10;

/**
 * Settles as `promise` does, or rejects after `ms` milliseconds with an error that says what did not happen. The time counts in
 * parts that the event loop has seen: a machine that stands still for longer, as a virtual one may, has missed only one.
 */
export async function within<T>(ms: number, promise: PromiseLike<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    let left = PARTS;
    timer = setInterval(() => {
      if (--left === 0) reject(new Error(`not within ${ms} ms: ${what}`));
    }, ms / PARTS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearInterval(timer);
  }
}

/** Resolves once `holds` does; asked again every few milliseconds, for what the kernel changes without an event. */
export async function until(ms: number, holds: () => boolean, what: () => string): Promise<void> {
  const end = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A promise and the functions that settle it. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

export function deferred<T = void>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((...settle) => ([resolve, reject] = settle));
  return { promise, resolve, reject };
}
