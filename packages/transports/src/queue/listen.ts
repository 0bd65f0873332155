import { randomInt } from "node:crypto";
import type { Connection, Listener, TransportOptions } from "@sluice/core";
import type { Native } from "@sluice/native";
import { systemError } from "../errors.js";
import { pollOption, signalOption } from "../options.js";
import { QueueChannel, type Outbound } from "./channel.js";
import { openOutbound, queueConnection } from "./connection.js";
import { Inbound } from "./inbound.js";
import type { QueueKind } from "./kind.js";
import {
  ANNOUNCE,
  decodeAnnouncement,
  encodeRefusal,
  encodeWelcome,
  makeHeader,
  REFUSE,
  WELCOME,
  type Announcement,
} from "./message.js";
import { requireSameUser } from "./owner.js";
import { claim, watchPeer } from "./peer.js";

/** How long a client that was let in may take to send its first message. */
const CONFIRM_MS = 10_000;
/** How many clients may be let in that have not sent any: each holds a descriptor of this process. */
const MAX_UNCONFIRMED = 64;

/** Listens at `address`, where clients announce themselves with the queue that they are to be answered in. */
export async function listenQueue<Target>(
  native: Native,
  kind: QueueKind<Target>,
  address: string,
  accept: (connection: Connection) => void,
  options: TransportOptions,
): Promise<Listener> {
  const target = kind.parse(address, options);
  requireSameUser(options);
  const pollUs = pollOption(options);
  signalOption(options)?.throwIfAborted();

  let listening = true;
  let lastNumber = 0;
  /** The clients that were let in and have not sent anything, and until when. */
  const unconfirmed = new Map<Connection, NodeJS.Timeout>();
  const inbound = new Inbound(
    native.readSlab,
    kind.slotBytes(target),
    (what, secret, limit, memory, start, end) => {
      if (what !== ANNOUNCE || !listening) return;
      const announcement = decodeAnnouncement(memory.subarray(start, end));
      if (announcement !== undefined) onAnnouncement(announcement, secret, limit);
    },
  );
  const server = (() => {
    try {
      return kind.serve(target, address, inbound);
    } catch (error) {
      throw systemError(error, "listen at", address);
    }
  })();
  try {
    inbound.listen(server.queue, pollUs);
  } catch (error) {
    server.stopListening();
    inbound.stopListening();
    throw systemError(error, "listen at", address);
  }

  const onAnnouncement = (announcement: Announcement, secret: number, limit: number): void => {
    let outbound: Outbound;
    try {
      outbound = openOutbound((handler) => server.openReply(announcement, handler));
    } catch {
      // It is gone again, or is not a queue to answer in: there is nobody to tell.
      return;
    }
    const answer = (what: number, payload: Uint8Array, granted = 0): void => {
      try {
        outbound.queue.send(
          makeHeader({ connection: 0, secret }, what, granted, 0),
          payload,
          0,
          payload.length,
        );
      } catch {
        // Its queue is gone or full, so it is not a client that waits for an answer.
      }
    };
    outbound.queue.poll(pollUs);
    const share = unconfirmed.size < MAX_UNCONFIRMED ? server.slots.admit() : undefined;
    if (share === undefined) {
      answer(REFUSE, encodeRefusal(server.crowded));
      return outbound.close();
    }
    do lastNumber = lastNumber === 0x7fff_ffff ? 1 : lastNumber + 1;
    while (inbound.has(lastNumber));
    const self = { connection: lastNumber, secret: randomInt(2 ** 32) };
    const channel = new QueueChannel(
      self,
      { connection: lastNumber, secret },
      outbound,
      inbound,
      share,
      limit,
    );
    const connection = queueConnection(channel, address, outbound);
    unconfirmed.set(
      connection,
      setTimeout(() => forget(connection), CONFIRM_MS),
    );
    channel.whenConfirmed = () => {
      clearTimeout(unconfirmed.get(connection));
      unconfirmed.delete(connection);
      accept(connection);
    };
    const welcome = { ...claim(), destination: self, inbound: server.reference };
    answer(WELCOME, encodeWelcome(welcome), share.base);
    channel.watch = watchPeer(native, announcement, outbound, channel);
  };

  const forget = (connection: Connection): void => {
    clearTimeout(unconfirmed.get(connection));
    unconfirmed.delete(connection);
    connection.destroy();
  };

  inbound.keepAlive(server, true);
  return {
    address,
    async close() {
      if (!listening) return;
      listening = false;
      server.stopListening();
      inbound.keepAlive(server, false);
      for (const connection of unconfirmed.keys()) forget(connection);
      inbound.stopListening();
    },
    ref: () => inbound.keepAlive(server, listening),
    unref: () => inbound.keepAlive(server, false),
  };
}
