/**
 * What ts-proto generates for a service (`outputServices=generic-definitions`), and the typed clients and handlers that
 * follow from it without further generated code.
 */
import type { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import type { CallOptions } from "./client-call.js";
import type { ServerContext } from "./server-call.js";

/** Encodes and decodes one message type, as ts-proto's `MessageFns` does. */
export interface MessageCodec<T> {
  encode(message: T, writer?: BinaryWriter): BinaryWriter;
  decode(input: BinaryReader | Uint8Array, length?: number): T;
}

/** One method of a generated Definition. */
export interface MethodDefinition<Request = any, Response = any> {
  readonly name: string;
  readonly requestType: MessageCodec<Request>;
  readonly requestStream: boolean;
  readonly responseType: MessageCodec<Response>;
  readonly responseStream: boolean;
  readonly options: {
    readonly idempotencyLevel?: "IDEMPOTENT" | "NO_SIDE_EFFECTS";
    readonly [option: string]: unknown;
  };
}

/** A generated Definition. */
export interface ServiceDefinition {
  readonly name: string;
  readonly fullName: string;
  readonly methods: { readonly [method: string]: MethodDefinition };
}

/** What rxjs and others call an Observable, as far as Sluice needs it. */
export interface ObservableLike<T> {
  subscribe(observer: { next(value: T): void; error(error: unknown): void; complete(): void }): {
    unsubscribe(): void;
  };
}

/**
 * What a streaming handler may return. Messages that are at hand go fastest from an Iterable (a plain generator, an array),
 * which needs no promise for each.
 */
export type MessageSource<T> = AsyncIterable<T> | Iterable<T> | ObservableLike<T>;

type RequestOf<M> = M extends { readonly requestType: MessageCodec<infer T> } ? T : never;
type ResponseOf<M> = M extends { readonly responseType: MessageCodec<infer T> } ? T : never;

/** The call that a client offers for one method. */
export type ClientMethod<M extends MethodDefinition> = M extends { readonly requestStream: true }
  ? M extends { readonly responseStream: true }
    ? (
        requests: AsyncIterable<RequestOf<M>> | Iterable<RequestOf<M>>,
        options?: CallOptions,
      ) => AsyncIterable<ResponseOf<M>>
    : (
        requests: AsyncIterable<RequestOf<M>> | Iterable<RequestOf<M>>,
        options?: CallOptions,
      ) => Promise<ResponseOf<M>>
  : M extends { readonly responseStream: true }
    ? (request: RequestOf<M>, options?: CallOptions) => AsyncIterable<ResponseOf<M>>
    : (request: RequestOf<M>, options?: CallOptions) => Promise<ResponseOf<M>>;

/** The typed client of a service: one function per method of its Definition. */
export type Client<S extends ServiceDefinition> = {
  readonly [K in keyof S["methods"]]: ClientMethod<S["methods"][K]>;
};

/** What a streaming handler may return: a source, or the promise of one. */
type Responses<T> = MessageSource<T> | Promise<MessageSource<T>>;

/** The function that implements one method. */
export type Handler<M extends MethodDefinition> = M extends { readonly requestStream: true }
  ? M extends { readonly responseStream: true }
    ? (requests: AsyncIterable<RequestOf<M>>, context: ServerContext) => Responses<ResponseOf<M>>
    : (
        requests: AsyncIterable<RequestOf<M>>,
        context: ServerContext,
      ) => Promise<ResponseOf<M>> | ResponseOf<M>
  : M extends { readonly responseStream: true }
    ? (request: RequestOf<M>, context: ServerContext) => Responses<ResponseOf<M>>
    : (request: RequestOf<M>, context: ServerContext) => Promise<ResponseOf<M>> | ResponseOf<M>;

/** What implements a service: a handler for each method of its Definition. */
export type Implementation<S extends ServiceDefinition> = {
  readonly [K in keyof S["methods"]]: Handler<S["methods"][K]>;
};
