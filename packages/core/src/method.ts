import type { MethodDefinition, ServiceDefinition } from "./definition.js";
import { RpcError } from "./error.js";
import { Status } from "./status.js";
import type { Opening } from "./stream.js";

/** One method of one service, as both sides of calls and interceptors know it. */
export interface MethodInfo {
  /** `package.Service/Method`: the name on the wire. */
  readonly path: string;
  /** `package.Service`. */
  readonly service: string;
  /** The method's name as in the `.proto`. */
  readonly name: string;
  readonly definition: MethodDefinition;
  /** What opens a call of it that has neither deadline nor metadata. */
  readonly plainOpening: Opening;
}

/** What sending `what` of a method failed with: what the codec threw says nothing of where. */
export function encodingError(error: unknown, what: string, { path }: MethodInfo): RpcError {
  if (error instanceof RpcError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new RpcError(Status.INTERNAL, `cannot encode ${what} of ${path}: ${reason}`, { cause: error });
}

/** The methods of a service, by the names that handlers and clients have for them. */
export function methodsOf(service: ServiceDefinition): [string, MethodInfo][] {
  return Object.entries(service.methods).map(([key, definition]) => {
    const path = `${service.fullName}/${definition.name}`;
    const plainOpening = { path, expireAt: undefined, remainingMs: 0, metadata: undefined };
    return [key, { path, service: service.fullName, name: definition.name, definition, plainOpening }];
  });
}
