import { randomInt } from "node:crypto";
import { RpcError, Status, type Connection, type TransportOptions } from "@sluice/core";
import type { Native } from "@sluice/native";
import { untilAborted } from "../abort.js";
import { errorCode, systemError } from "../errors.js";
import { pollOption, signalOption } from "../options.js";
import { QueueChannel, type Outbound } from "./channel.js";
import { openOutbound, queueConnection } from "./connection.js";
import { Inbound } from "./inbound.js";
import type { QueueKind } from "./kind.js";
import {
  ANNOUNCE,
  decodeRefusal,
  decodeWelcome,
  encodeAnnouncement,
  makeHeader,
  REFUSE,
  WELCOME,
  type Welcome,
} from "./message.js";
import { requireSameUser } from "./owner.js";
import { claim, watchPeer } from "./peer.js";
import { Share } from "./slots.js";

/** How long a server may take to answer. */
const ANSWER_MS = 10_000;
/** How often to look whether it lives, since nothing tells before it is known which process it is. */
const LOOK_MS = 100;

interface Answer extends Welcome {
  /** How many slots the server has granted. */
  readonly limit: number;
}

/** Connects to the server at `address`: announces a queue of this connection's own, in which the server answers. */
export async function connectQueue<Target>(
  native: Native,
  kind: QueueKind<Target>,
  address: string,
  options: TransportOptions,
): Promise<Connection> {
  const target = kind.parse(address, options);
  requireSameUser(options);
  const pollUs = pollOption(options);
  const signal = signalOption(options);
  signal?.throwIfAborted();

  const secret = randomInt(2 ** 32);
  let settle: { resolve(answer: Answer): void; reject(error: unknown): void };
  const answered = new Promise<Answer>((resolve, reject) => (settle = { resolve, reject }));
  // A failure that comes before anybody waits for it is told all the same.
  answered.catch(() => {});
  const inbound = new Inbound(
    native.readSlab,
    kind.slotBytes(target),
    (what, sentTo, limit, memory, start, end) => {
      if (sentTo !== secret) return;
      const payload = memory.slice(start, end);
      const welcome = what === WELCOME ? decodeWelcome(payload) : undefined;
      const refusal = what === REFUSE ? decodeRefusal(payload) : undefined;
      if (welcome !== undefined) settle.resolve({ ...welcome, limit });
      if (refusal !== undefined) settle.reject(unavailable(address, refusal));
    },
  );

  let outbound: Outbound | undefined;
  let timer: NodeJS.Timeout | undefined;
  try {
    const knocked = (outbound = openOutbound((handler) => kind.knock(target, address, handler)));
    const reply = kind.makeReply(target, address, inbound);
    inbound.listen(reply.queue, pollUs);
    const share = Share.whole(reply.slots);
    announce(knocked, reply.reference, secret, share.base, settle!.reject);
    const deadline = performance.now() + ANSWER_MS;
    timer = setInterval(() => {
      if (!isHeld(knocked)) {
        knocked.tidy();
        settle.reject(unavailable(address, "the server has ended meanwhile"));
      } else if (performance.now() > deadline) {
        settle.reject(unavailable(address, "the server does not answer"));
      }
    }, LOOK_MS);
    const { destination, inbound: reference, limit, ...peer } = await untilAborted(answered, signal);

    outbound = kind.enter(target, reference, knocked);
    if (outbound !== knocked) knocked.close();
    outbound.queue.poll(pollUs);
    const self = { connection: destination.connection, secret };
    const channel = new QueueChannel(self, destination, outbound, inbound, share, limit);
    const connection = queueConnection(channel, address, outbound);
    channel.confirm();
    channel.watch = watchPeer(native, peer, outbound, channel);
    return connection;
  } catch (error) {
    outbound?.close();
    if (signal?.aborted === true && error === signal.reason) throw error;
    if (errorCode(error) === "ENOENT") throw unavailable(address, "nobody listens there (ENOENT)", error);
    throw systemError(error, "connect to", address);
  } finally {
    clearInterval(timer);
    // From now on only the connection keeps the queue open, if there is one.
    inbound.stopListening();
  }
}

/** Whether the process still lives that receives from the queue. */
function isHeld({ queue }: Outbound): boolean {
  try {
    return queue.held();
  } catch {
    return false;
  }
}

/** Sends the announcement as soon as there is room for it. */
function announce(
  outbound: Outbound,
  reply: string,
  secret: number,
  granted: number,
  onError: (error: unknown) => void,
): void {
  const payload = encodeAnnouncement({ ...claim(), reply });
  const send = (): void => {
    try {
      const header = makeHeader({ connection: 0, secret }, ANNOUNCE, granted, 0);
      if (!outbound.queue.send(header, payload, 0, payload.length)) outbound.queue.awaitRoom();
    } catch (error) {
      onError(error);
    }
  };
  outbound.onRoom = send;
  send();
}

function unavailable(address: string, why: string, cause?: unknown): RpcError {
  return new RpcError(Status.UNAVAILABLE, `cannot connect to ${address}: ${why}`, { cause });
}
