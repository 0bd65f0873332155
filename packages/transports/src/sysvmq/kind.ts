import type { Native, QueueHandler, SysvQueue } from "@sluice/native";
import { openOutbound } from "../queue/connection.js";
import type { OpenQueue, QueueKind } from "../queue/kind.js";
import { decodeAnnouncement, HEADER_BYTES } from "../queue/message.js";
import { claim } from "../queue/peer.js";
import { nobodyListens, requireOwn, unusable } from "../queue/owner.js";
import { Slots } from "../queue/slots.js";
import { parseSysvmqAddress } from "./address.js";
import { crowded, limitError, messageBytes, requireRoom } from "./limits.js";

/** The kernel counts a queue's bytes, so short messages may be many. */
const SLOT_BYTES = 128;
/** Kept free in a client's queue for messages that take no slots. */
const RESERVED_SLOTS = 1;

/**
 * System V queues. A server has two: that of the key, where clients announce themselves, which can be removed while
 * connections go on, and one without a key, where they send. In the former it notes the others, for whoever comes after a crash.
 */
export function sysvQueues(native: Native): QueueKind<number> {
  const opened = (queue: SysvQueue): OpenQueue => ({
    queue,
    messageBytes: messageBytes(),
    slotBytes: SLOT_BYTES,
    ...(queue.receiverPid > 0 && { pid: queue.receiverPid }),
    onDeath: () => native.SysvQueue.removeDead({ id: queue.id }),
  });

  const open = (
    which: { readonly key: number } | { readonly id: number },
    handler: QueueHandler,
  ): SysvQueue => {
    const queue = new native.SysvQueue(which, handler);
    requireOwn(queue, String(queue.id));
    return queue;
  };

  /** Opens a queue that was made for a connection: one without a key. */
  const openUnnamed = (reference: string, handler: QueueHandler): SysvQueue => {
    const id = parseReference(reference);
    if (id === undefined) throw unusable(reference, "is not the number of one");
    const queue = open({ id }, handler);
    if (queue.key === 0) return queue;
    queue.close();
    throw unusable(reference, "was not made for a connection");
  };

  /** Removes what a dead server has left, with the queues of those whose announcements it has not read, if they died too. */
  const removeDead = (key: number): void => {
    for (const message of native.SysvQueue.removeDead({ key })) {
      const reply = decodeAnnouncement(message.subarray(HEADER_BYTES))?.reply;
      const id = reply === undefined ? undefined : parseReference(reply);
      if (id !== undefined) native.SysvQueue.removeDead({ id });
    }
  };

  return {
    parse: parseSysvmqAddress,
    slotBytes: () => SLOT_BYTES,

    serve(key, address, handler) {
      let door: SysvQueue | undefined;
      let queue: SysvQueue | undefined;
      try {
        removeDead(key);
        door = new native.SysvQueue({ key }, doorHandler(handler), true);
        queue = new native.SysvQueue({}, handler);
        requireRoom(queue, "listen at", address);
        door.note(queue.id);
        door.start();
        door.unref();
      } catch (error) {
        door?.close();
        queue?.close();
        throw limitError(error, "listen at", address);
      }
      const notes = door;
      return {
        ...opened(queue),
        reference: String(queue.id),
        slots: plan(Math.floor(queue.bytes / SLOT_BYTES)),
        crowded: crowded(queue),
        stopListening: () => notes.close(),
        openReply({ reply, pid, namespace }, handler) {
          const queue = openUnnamed(reply, handler);
          // Only the client has used it, who says that it is that process; as we see it, if we are in one pid namespace.
          const seen = namespace === claim().namespace ? pid : queue.senderPid;
          if (queue.senderPid !== seen || queue.receiverPid !== seen) {
            queue.close();
            throw unusable(reply, "is not that of the process which has announced it");
          }
          notes.note(queue.id);
          return { ...opened(queue), onClose: () => notes.forget(queue.id) };
        },
      };
    },

    knock(key, address, handler) {
      const queue = open({ key }, handler);
      if (queue.held()) return { ...opened(queue), onDeath: () => removeDead(key) };
      queue.close();
      removeDead(key);
      throw nobodyListens(address);
    },

    enter: (key, reference) =>
      openOutbound((handler) => {
        const queue = opened(openUnnamed(reference, handler));
        return {
          ...queue,
          onDeath() {
            queue.onDeath?.();
            removeDead(key);
          },
        };
      }),

    makeReply(_key, address, handler) {
      let queue: SysvQueue | undefined;
      try {
        queue = new native.SysvQueue({}, handler);
        requireRoom(queue, "connect to", address);
      } catch (error) {
        queue?.close();
        throw limitError(error, "connect to", address);
      }
      const slots = Math.floor(queue.bytes / SLOT_BYTES) - RESERVED_SLOTS;
      return { ...opened(queue), reference: String(queue.id), slots };
    },
  };
}

/**
 * Gives out a server's queue: of 5 slots 2 are a connection's each, beside a quarter of a slot for its messages that take none.
 * Of the rest a quarter goes to the first connections, and three are lent.
 */
function plan(slots: number): Slots {
  const connections = Math.floor((2 * slots) / 5);
  const rest = slots - connections - Math.ceil(connections / 4);
  const bonus = rest >> 2;
  return new Slots({ connections, bonus, lendable: rest - bonus });
}

/** What comes through the queue of the key goes where the rest goes; but if somebody removes it, connections go on. */
function doorHandler(handler: QueueHandler): QueueHandler {
  return { onMessages: (end) => handler.onMessages(end), onRoom() {}, onError() {} };
}

function parseReference(text: string): number | undefined {
  const id = /^[0-9]{1,10}$/.test(text) ? Number(text) : NaN;
  return id <= 0x7fff_ffff ? id : undefined;
}
