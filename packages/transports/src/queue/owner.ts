import { RpcError, Status, type TransportOptions } from "@sluice/core";
import type { MessageQueue } from "@sluice/native";
import { invalidOption } from "../options.js";

/** Refuses an `allowPeer` that a queue cannot honour: nobody but its user can open it, and it does not say which process did. */
export function requireSameUser(options: TransportOptions): void {
  const value = options["allowPeer"];
  if (value !== undefined && value !== "same-user")
    throw invalidOption("allowPeer", value, '"same-user" for message queues');
}

/**
 * Refuses a queue that another user may have made or may use, since whoever can open a queue may send anything to it. This is
 * all that is known of who is at the other end: its permissions are those of this user alone. `name` is the queue's.
 */
export function requireOwn(queue: MessageQueue, name: string): void {
  const own = process.geteuid!();
  const fault =
    queue.uid !== own
      ? `belongs to uid ${queue.uid}, and this process runs as uid ${own}`
      : (queue.mode & 0o077) !== 0
        ? `can be used by others (mode 0${queue.mode.toString(8)})`
        : undefined;
  if (fault === undefined) return;
  queue.close();
  throw new RpcError(Status.PERMISSION_DENIED, `the message queue ${name} ${fault}`);
}

/** What a server's queue tells that is not received from any more. */
export function nobodyListens(address: string): RpcError {
  return new RpcError(
    Status.UNAVAILABLE,
    `cannot connect to ${address}: nobody listens there; the server that made the queue is gone`,
  );
}

/** What a client has announced cannot be answered in. */
export function unusable(reply: string, why: string): RpcError {
  return new RpcError(Status.PERMISSION_DENIED, `the message queue ${JSON.stringify(reply)} ${why}`);
}
