import { inContext } from "./async-context.js";
import { isSource } from "./message-pump.js";
import type { MethodInfo } from "./method.js";
import type { Metadata } from "./metadata.js";
import type { ServerContext } from "./server-call.js";

interface CallOnItsWay {
  readonly method: MethodInfo;
  /** Sent with the call. A client's interceptor may change it before `next`. */
  readonly metadata: Metadata;
  /** The response's headers: filled before the first response on the client; may be added to before it on the server. */
  readonly header: Metadata;
  /** The response's trailers: filled when the responses end on the client; may be added to until then on the server. */
  readonly trailer: Metadata;
  readonly deadline: Date | undefined;
  /** Aborted when the call is cancelled or its deadline passes. */
  readonly signal: AbortSignal;
  readonly requests: AsyncIterable<unknown>;
}

/** A call on its way out. */
export interface InterceptedClientCall extends CallOnItsWay {
  readonly side: "client";
  readonly context: undefined;
}

/** A call on its way to its handler. */
export interface InterceptedServerCall extends CallOnItsWay {
  readonly side: "server";
  /** The handler's. */
  readonly context: ServerContext;
}

/**
 * A call on its way through interceptors: the same shape on both sides and for all four kinds. Where a method takes or
 * gives one message, the iterable has one.
 */
export type InterceptedCall = InterceptedClientCall | InterceptedServerCall;

/**
 * Sees a call's requests on their way in and its responses on their way out. Usually an async generator:
 *
 *     async function* log(call, next) {
 *       try { yield* next(call); } finally { console.log(call.method.path); }
 *     }
 *
 * It may hand `next` a changed call (`{ ...call, requests: changed(call.requests) }`), answer without `next`, call it
 * again (the requests must then be kept), and throw an `RpcError` to end the call.
 */
export type Interceptor = (
  call: InterceptedCall,
  next: (call: InterceptedCall) => AsyncIterable<unknown>,
) => AsyncIterable<unknown>;

/**
 * The interceptors around `last`; the first is outermost. What one calls `next` in, such as `storage.run` of an AsyncLocalStorage, holds for
 * all that is further in, though most of that runs only when its responses are read.
 */
export function compose(
  interceptors: readonly Interceptor[],
  last: (call: InterceptedCall) => AsyncIterable<unknown>,
): (call: InterceptedCall) => AsyncIterable<unknown> {
  return interceptors.reduceRight<typeof last>(
    (next, interceptor) => (call) =>
      interceptor(call, (inner) => {
        const responses = next(inner);
        // What cannot be read so is for its reader to refuse.
        return isAsyncIterable(responses) ? inContext(responses) : responses;
      }),
    last,
  );
}

function isAsyncIterable(value: unknown): boolean {
  return isSource(value) && Symbol.asyncIterator in value;
}

/** The one message of `source`; throws what `missing` and `surplus` make if there is none, or another. */
export async function onlyMessage(
  source: AsyncIterable<unknown>,
  missing: () => Error,
  surplus: () => Error,
): Promise<unknown> {
  let count = 0;
  let only: unknown = undefined;
  for await (const message of source) {
    if (++count > 1) throw surplus();
    only = message;
  }
  if (count === 0) throw missing();
  return only;
}
