import type { TransportOptions } from "@sluice/core";
import type { MessageQueue, QueueHandler } from "@sluice/native";
import type { Outbound } from "./channel.js";
import type { Announcement } from "./message.js";
import type { Slots } from "./slots.js";

/** A queue, and how large the messages are that may be put into it. */
export interface OpenQueue {
  readonly queue: MessageQueue;
  /** The most bytes that go into one message. */
  readonly messageBytes: number;
  /** How many bytes of a message take one slot. */
  readonly slotBytes: number;
  /** The process that receives from it, where the kernel tells. */
  readonly pid?: number;
  /** Called once the queue was closed here. */
  readonly onClose?: () => void;
  /** Called when the process that receives from it has died: removes what the kernel would leave. */
  readonly onDeath?: () => void;
}

/** The queue from which one end receives, under the name or number by which the other end opens it. */
export interface OwnQueue extends OpenQueue {
  readonly reference: string;
}

/** What a server has at its address. */
export interface ServerQueue extends OwnQueue {
  /** How its slots are given out. */
  readonly slots: Slots;
  /** Why a client is refused when there is no slot for it, and what to do. */
  readonly crowded: string;
  /** Opens a client's queue. Throws if it is not one that this user made for this, by the process that it says. */
  openReply(announcement: Announcement, handler: QueueHandler): OpenQueue;
  /** Give the address up; connections go on. */
  stopListening(): void;
}

/** What POSIX and System V queues do each in its own way. All of it throws `RpcError`s, or system errors. */
export interface QueueKind<Target> {
  /** Where to connect or listen, with the options that are this kind's own. */
  parse(address: string, options: TransportOptions): Target;
  /** How many bytes of a message take one slot in a queue that is made for `target`. */
  slotBytes(target: Target): number;
  /** Makes the server's queue. `EADDRINUSE` if a server lives there; what a dead one has left is taken away. */
  serve(target: Target, address: string, handler: QueueHandler): ServerQueue;
  /** Opens what a server listens at, to announce oneself. */
  knock(target: Target, address: string, handler: QueueHandler): OpenQueue;
  /** What to send to from now on, as the server has told: the queue that was knocked at, or another, then opened here. */
  enter(target: Target, reference: string, knocked: Outbound): Outbound;
  /** Makes a client's queue; `slots` of it are for what the server sends. */
  makeReply(target: Target, address: string, handler: QueueHandler): OwnQueue & { readonly slots: number };
}
