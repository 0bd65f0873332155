/**
 * Sluice clients whose calls are rxjs Observables. Handlers need nothing from here: they may return an Observable
 * wherever they may return an AsyncIterable.
 */
import type { CallOptions, Channel, MessageCodec, MethodDefinition, ServiceDefinition } from "@sluice/core";
import { Observable } from "rxjs";

type RequestOf<M> = M extends { readonly requestType: MessageCodec<infer T> } ? T : never;
type ResponseOf<M> = M extends { readonly responseType: MessageCodec<infer T> } ? T : never;

/** The call that an rx client offers for one method. */
export type RxMethod<M extends MethodDefinition> = M extends { readonly requestStream: true }
  ? (
      requests: Observable<RequestOf<M>> | AsyncIterable<RequestOf<M>> | Iterable<RequestOf<M>>,
      options?: CallOptions,
    ) => Observable<ResponseOf<M>>
  : (request: RequestOf<M>, options?: CallOptions) => Observable<ResponseOf<M>>;

/** The typed rx client of a service: one function per method of its Definition. */
export type RxClient<S extends ServiceDefinition> = {
  readonly [K in keyof S["methods"]]: RxMethod<S["methods"][K]>;
};

type Call = (request: unknown, options: CallOptions) => Promise<unknown> | AsyncIterable<unknown>;

/**
 * A client of the service `definition` over `channel` whose calls return Observables: of one message where the response
 * is not a stream. They are cold: each subscription makes a call of its own, and unsubscribing cancels it. An Observable
 * errors with the `RpcError` that the call ended with.
 *
 * Back-pressure ends where an Observable begins, since nobody can ask one to wait. A subscriber is given the next response
 * when its `next` has returned, so one that works in `next` holds the peer back; operators that queue (`concatMap`,
 * `observeOn`) do so without bound. Of an Observable of requests, what the peer is not ready for is kept, and when that
 * is too much the call fails with RESOURCE_EXHAUSTED; give the iterable itself instead of `from(iterable)`, and it is
 * read only as fast as the peer takes.
 */
export function rxClient<S extends ServiceDefinition>(
  channel: Pick<Channel, "client">,
  definition: S,
): RxClient<S> {
  const client = channel.client(definition) as Record<string, Call>;
  const methods = Object.entries(definition.methods).map(([name, { responseStream }]) => {
    const call = client[name];
    return [
      name,
      (request: unknown, options?: CallOptions) => observe(call, responseStream, request, options),
    ];
  });
  return Object.fromEntries(methods) as RxClient<S>;
}

function observe(
  call: Call,
  responseStream: boolean,
  request: unknown,
  options: CallOptions = {},
): Observable<unknown> {
  return new Observable((subscriber) => {
    const controller = new AbortController();
    const leave = options.signal === undefined ? undefined : follow(options.signal, controller);
    subscriber.add(() => {
      leave?.();
      controller.abort();
    });

    const run = async () => {
      const result = call(request, { ...options, signal: controller.signal });
      if (responseStream) {
        for await (const message of result as AsyncIterable<unknown>) {
          subscriber.next(message);
          if (subscriber.closed) return;
        }
      } else {
        subscriber.next(await (result as Promise<unknown>));
      }
      subscriber.complete();
    };
    run().catch((error: unknown) => subscriber.error(error));
  });
}

/** Those that follow a signal. One listener serves them all: Node warns of more than ten. */
const followers = new WeakMap<AbortSignal, Set<AbortController>>();

/** Have `controller` aborted with `signal`, until the function that this returns is called. */
function follow(signal: AbortSignal, controller: AbortController): () => void {
  if (signal.aborted) {
    controller.abort(signal.reason);
    return () => {};
  }
  let all = followers.get(signal);
  if (all === undefined) followers.set(signal, (all = new Set()));
  const following = all;
  if (following.size === 0) signal.addEventListener("abort", abortFollowers);
  following.add(controller);
  return () => {
    following.delete(controller);
    if (following.size === 0) signal.removeEventListener("abort", abortFollowers);
  };
}

function abortFollowers(this: AbortSignal): void {
  for (const controller of [...followers.get(this)!]) controller.abort(this.reason);
}
