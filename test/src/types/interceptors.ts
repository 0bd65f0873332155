/* eslint-disable @typescript-eslint/no-unused-vars -- what is wrong, or used for its type only, is the test */
/** What interceptors see follows from the call's side, and metadata's values from their names. Compiling this file is the test. */
import type { Interceptor, Metadata, MetadataValue, ServerContext } from "@sluice/core";
import { expectType, type Same } from "./expect.js";

export const interceptor: Interceptor = (call, next) => {
  expectType<Same<typeof call.side, "client" | "server">>();
  if (call.side === "server") expectType<Same<typeof call.context, ServerContext>>();
  else expectType<Same<typeof call.context, undefined>>();
  // @ts-expect-error: a client's call has no context
  call.context.peer;
  // @ts-expect-error: a client's call cannot be made a server's
  next({ ...call, side: "server", context: undefined });
  // A call may be changed whichever its side is.
  return next({ ...call, requests: call.requests });
};

export function values(metadata: Metadata, name: string, binary: `${string}-bin`): void {
  const text = metadata.get("traceparent");
  const bytes = metadata.get("trace-bin");
  expectType<Same<typeof text, string | undefined>>();
  expectType<Same<typeof bytes, Uint8Array | undefined>>();
  const texts = metadata.getAll("traceparent");
  const all = metadata.getAll("Trace-Bin"); // Names are the same in either case.
  expectType<Same<typeof texts, string[]>>();
  expectType<Same<typeof all, Uint8Array[]>>();
  const more = metadata.get(binary);
  const any = metadata.get(name);
  expectType<Same<typeof more, Uint8Array | undefined>>();
  expectType<Same<typeof any, MetadataValue | undefined>>();
}
