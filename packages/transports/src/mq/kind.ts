import { randomUUID } from "node:crypto";
import { RpcError, Status } from "@sluice/core";
import type { Native, PosixQueue } from "@sluice/native";
import { errorCode } from "../errors.js";
import type { OpenQueue, QueueKind } from "../queue/kind.js";
import { decodeAnnouncement, HEADER_BYTES } from "../queue/message.js";
import { Slots } from "../queue/slots.js";
import { parseMqAddress } from "./address.js";
import { limitError } from "./limits.js";

/** Kept free for messages that take no slots: a GRANT and an END. */
const RESERVED_MESSAGES = 2;

/** What a client calls its own queue, followed by 122 random bits. */
const REPLY_PREFIX = "/sluice-";

/** A message is a slot, however short it is. */
const slotBytes = (messageBytes: number): number => messageBytes;

/**
 * POSIX queues. Whoever finds one full waits until the kernel says that there is room, so more clients may be let in than the
 * server's queue has room for messages: each has one slot, and half of the queue is lent.
 */
export function posixQueues(native: Native): QueueKind<string> {
  /** Refuses a queue that another user may have made, or may use: whoever can open one may send anything to it. */
  const open = (name: string, handler: ConstructorParameters<Native["PosixQueue"]>[1]): PosixQueue => {
    const queue = new native.PosixQueue(name, handler);
    const own = process.geteuid!();
    const fault =
      queue.uid !== own
        ? `belongs to uid ${queue.uid}, and this process runs as uid ${own}`
        : (queue.mode & 0o077) !== 0
          ? `can be used by others (mode 0${queue.mode.toString(8)})`
          : undefined;
    if (fault === undefined) return queue;
    queue.close();
    throw new RpcError(Status.PERMISSION_DENIED, `the message queue ${name} ${fault}`);
  };
  const opened = (queue: PosixQueue): OpenQueue => ({
    queue,
    messageBytes: queue.messageBytes,
    slotBytes: slotBytes(queue.messageBytes),
  });

  return {
    slotBytes,
    parse: parseMqAddress,

    serve(name, address, size, handler) {
      let queue: PosixQueue;
      try {
        queue = new native.PosixQueue(name, handler, size);
      } catch (error) {
        throw limitError(error, size, "listen at", address);
      }
      // Whose announcement nobody has read has perhaps died, too, and left a queue.
      for (const message of queue.left) removeReply(native, message);
      return {
        ...opened(queue),
        reference: "",
        slots: new Slots({ connections: Infinity, bonus: 0, lendable: size.messages >> 1 }),
        crowded: "too many clients connect at once; try again",
        stopListening: () => queue.remove(),
      };
    },

    knock(name, address, handler) {
      const queue = open(name, handler);
      if (queue.held()) return opened(queue);
      queue.close();
      throw new RpcError(
        Status.UNAVAILABLE,
        `cannot connect to ${address}: nobody listens there; the queue was left by a server that is gone`,
      );
    },

    enter: (_reference, knocked) => knocked,

    makeReply(size, address, handler) {
      const reference = `${REPLY_PREFIX}${randomUUID()}`;
      try {
        const queue = new native.PosixQueue(reference, handler, size);
        return { ...opened(queue), reference, slots: size.messages - RESERVED_MESSAGES };
      } catch (error) {
        throw limitError(error, size, "connect to", address);
      }
    },

    openReply(reference, handler) {
      requireReply(reference);
      const queue = open(reference, handler);
      // Both have it open now, so it needs no name any more, and can leave none behind.
      queue.remove();
      if (queue.held() && queue.messageBytes > 2 * HEADER_BYTES) return opened(queue);
      queue.close();
      throw new RpcError(Status.UNAVAILABLE, `the client that made ${reference} is gone`);
    },
  };
}

/** Refuses to open, and to remove, what is not called as a client's queue is. */
function requireReply(reference: string): void {
  if (reference.startsWith(REPLY_PREFIX) && /^[0-9a-f-]{36}$/.test(reference.slice(REPLY_PREFIX.length)))
    return;
  throw new RpcError(
    Status.PERMISSION_DENIED,
    `${JSON.stringify(reference)} is not the name of a client's queue`,
  );
}

/** Removes the queue of a client that has announced itself, if it does not live any more. */
function removeReply(native: Native, announcement: Uint8Array): void {
  const reply = decodeAnnouncement(announcement.subarray(HEADER_BYTES))?.reply;
  if (reply === undefined) return;
  try {
    requireReply(reply);
    const queue = new native.PosixQueue(reply, { onMessages() {}, onRoom() {}, onError() {} });
    if (!queue.held()) queue.remove();
    queue.close();
  } catch (error) {
    if (!(error instanceof RpcError) && errorCode(error) === "") throw error;
  }
}
