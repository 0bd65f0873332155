import { RpcError, Status, type Connection, type Listener, type TransportOptions } from "@sluice/core";
import { pollOption, signalOption } from "../options.js";
import { parseNothing } from "../pipe/connect.js";
import { acceptOne } from "../pipe/listen.js";
import type { Platform } from "../platform/index.js";
import { pipeIdentity } from "../platform/pipe-identity.js";

let taken = false;

export async function listen(
  platform: Platform,
  address: string,
  accept: (connection: Connection) => void,
  options: TransportOptions,
): Promise<Listener> {
  parseNothing(address, "stdio");
  const pollUs = pollOption(options);
  signalOption(options)?.throwIfAborted();
  if (taken) {
    throw new RpcError(
      Status.ALREADY_EXISTS,
      "cannot listen at stdio: this process has been listening there before",
    );
  }
  for (const [fd, name] of [
    [0, "standard input"],
    [1, "standard output"],
  ] as const) {
    if (pipeIdentity(fd) === undefined) {
      throw new RpcError(
        Status.FAILED_PRECONDITION,
        `cannot listen at stdio: ${name} is neither a pipe nor a socket; start this program by spawn() with over: "stdio:"`,
      );
    }
  }
  taken = true;
  return acceptOne(platform.pipes.takeStandard(), address, accept, pollUs);
}
