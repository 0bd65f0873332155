import { randomUUID } from "node:crypto";
import type { Native, PosixQueue, QueueHandler } from "@sluice/native";
import type { OpenQueue, QueueKind } from "../queue/kind.js";
import { decodeAnnouncement, HEADER_BYTES } from "../queue/message.js";
import { nobodyListens, requireOwn, unusable } from "../queue/owner.js";
import { Slots } from "../queue/slots.js";
import { parseMqAddress } from "./address.js";
import { limitError } from "./limits.js";
import { sizeOption, type QueueSize } from "./options.js";

/** Kept free for messages that take no slots: a GRANT and an END. */
const RESERVED_MESSAGES = 2;

/** What a client calls its own queue, followed by 122 random bits. */
const REPLY_PREFIX = "/sluice-";

interface Target {
  readonly name: string;
  /** Of the queue that is made. */
  readonly size: QueueSize;
}

/**
 * POSIX queues. Whoever finds one full waits until the kernel says that there is room, so more clients may be let in than the
 * server's queue has room for messages: each has one slot, and half of the queue is lent.
 */
export function posixQueues(native: Native): QueueKind<Target> {
  const open = (name: string, handler: QueueHandler): PosixQueue => {
    const queue = new native.PosixQueue(name, handler);
    requireOwn(queue, name);
    return queue;
  };
  /** Removes what a dead server has left at `name`, with the queues of those whose announcements it has not read, if they died too. */
  const removeDead = (name: string): void => {
    for (const message of native.PosixQueue.removeDead(name)) {
      const reply = decodeAnnouncement(message.subarray(HEADER_BYTES))?.reply;
      if (reply !== undefined && isReply(reply)) native.PosixQueue.removeDead(reply);
    }
  };
  const opened = (queue: PosixQueue): OpenQueue => ({
    queue,
    messageBytes: queue.messageBytes,
    // A message is a slot, however short it is.
    slotBytes: queue.messageBytes,
  });

  return {
    parse: (address, options) => ({ name: parseMqAddress(address), size: sizeOption(options) }),
    slotBytes: ({ size }) => size.messageBytes,

    serve({ name, size }, address, handler) {
      let queue: PosixQueue;
      try {
        removeDead(name);
        queue = new native.PosixQueue(name, handler, size);
      } catch (error) {
        throw limitError(error, size, "listen at", address);
      }
      return {
        ...opened(queue),
        reference: "",
        slots: new Slots({ connections: Infinity, bonus: 0, lendable: size.messages >> 1 }),
        crowded: "too many clients connect at once; try again",
        stopListening: () => queue.remove(),
        openReply({ reply }, handler) {
          if (!isReply(reply)) throw unusable(reply, "is not called as a client's queue is");
          const queue = open(reply, handler);
          // Both have it open now, so it needs no name any more, and can leave none behind.
          queue.remove();
          if (queue.held() && queue.messageBytes > 2 * HEADER_BYTES) return opened(queue);
          queue.close();
          throw unusable(reply, "is not a living client's");
        },
      };
    },

    knock({ name }, address, handler) {
      const queue = open(name, handler);
      if (queue.held()) return { ...opened(queue), onDeath: () => removeDead(name) };
      queue.close();
      removeDead(name);
      throw nobodyListens(address);
    },

    enter: (_target, _reference, knocked) => knocked,

    makeReply({ size }, address, handler) {
      const reference = `${REPLY_PREFIX}${randomUUID()}`;
      try {
        const queue = new native.PosixQueue(reference, handler, size);
        return { ...opened(queue), reference, slots: size.messages - RESERVED_MESSAGES };
      } catch (error) {
        throw limitError(error, size, "connect to", address);
      }
    },
  };
}

/** Whether a queue is called as a client's is: others are neither opened nor removed because a client says so. */
function isReply(name: string): boolean {
  return name.startsWith(REPLY_PREFIX) && /^[0-9a-f-]{36}$/.test(name.slice(REPLY_PREFIX.length));
}
