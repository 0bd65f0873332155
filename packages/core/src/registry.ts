import type { Implementation, ServiceDefinition } from "./definition.js";
import { RpcError } from "./error.js";
import type { Interceptor } from "./interceptor.js";
import { methodsOf } from "./method.js";
import type { BoundMethod } from "./server-call.js";
import { Status } from "./status.js";

/** How a service is offered. */
export interface ServiceOptions {
  /**
   * Whether handlers take `bytes` fields of 64 KiB and more as views of the transport's memory, where it has any to lend (`shm:`),
   * instead of copies. A view loses its bytes when the handler settles, when the next request of a stream is taken, and when
   * the connection ends; until then the peer can still change them. Default false.
   */
  readonly lendBytes?: boolean;
}

/** The services that one end offers, by method name. */
export class Registry {
  readonly #methods = new Map<string, BoundMethod>();
  readonly #services = new Set<string>();
  readonly #interceptors: readonly Interceptor[];
  readonly #parent: Registry | undefined;

  /** With `parent`, what is not found here is looked up there. */
  constructor(interceptors: readonly Interceptor[], parent?: Registry) {
    this.#interceptors = interceptors;
    this.#parent = parent;
  }

  /**
   * Offer a service. Throws ALREADY_EXISTS if it is offered here already, INVALID_ARGUMENT if a method has no handler.
   */
  add<S extends ServiceDefinition>(
    service: S,
    implementation: Implementation<S>,
    { lendBytes = false }: ServiceOptions = {},
  ): void {
    if (this.#services.has(service.fullName)) {
      throw new RpcError(Status.ALREADY_EXISTS, `the service ${service.fullName} has been added already`);
    }
    const bound = methodsOf(service).map(([key, info]): BoundMethod => {
      const handler: unknown = implementation[key as keyof S["methods"]];
      if (typeof handler !== "function") {
        throw new RpcError(
          Status.INVALID_ARGUMENT,
          `the implementation of ${service.fullName} has no handler "${key}" for its method ${info.name}`,
        );
      }
      return {
        info,
        handler: (handler as BoundMethod["handler"]).bind(implementation),
        interceptors: this.#interceptors,
        lendBytes,
      };
    });
    this.#services.add(service.fullName);
    for (const method of bound) this.#methods.set(method.info.path, method);
  }

  find(path: string): BoundMethod | undefined {
    return this.#methods.get(path) ?? this.#parent?.find(path);
  }

  /** Why `path` was not found, for people. */
  explain(path: string): string {
    const service = path.slice(0, Math.max(0, path.indexOf("/")));
    return this.#hasService(service)
      ? `the service ${service} has no method ${path.slice(service.length + 1)}`
      : `there is no service ${service === "" ? path : service} here`;
  }

  #hasService(service: string): boolean {
    return this.#services.has(service) || (this.#parent !== undefined && this.#parent.#hasService(service));
  }
}
