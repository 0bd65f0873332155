import type { Connection, Listener, TransportOptions } from "@sluice/core";
import { pollOption, signalOption } from "../options.js";
import type { ByteStream, Platform } from "../platform/index.js";
import type { ByteChannel, ByteChannelHandler } from "../stream/channel.js";
import { StreamConnection } from "../stream/connection.js";
import { parseNothing } from "./connect.js";
import { TRAITS } from "./connection.js";
import { takePipes } from "./environment.js";

export async function listen(
  platform: Platform,
  address: string,
  accept: (connection: Connection) => void,
  options: TransportOptions,
): Promise<Listener> {
  parseNothing(address, "pipe");
  const pollUs = pollOption(options);
  signalOption(options)?.throwIfAborted();
  const { readFd, writeFd } = takePipes("listen at");
  return acceptOne(platform.pipes.inherited(readFd, writeFd), address, accept, pollUs);
}

/** A listener whose one connection is there already. It is the connection that keeps the process alive. */
export function acceptOne(
  stream: ByteStream,
  address: string,
  accept: (connection: Connection) => void,
  pollUs: number,
): Listener {
  const open = (handler: ByteChannelHandler): ByteChannel => stream.open(handler, pollUs);
  const connection = new StreamConnection(open, stream.input, TRAITS, { address });
  queueMicrotask(() => accept(connection));
  return { address, async close() {}, ref() {}, unref() {} };
}
