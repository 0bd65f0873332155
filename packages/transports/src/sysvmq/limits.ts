import { readFileSync } from "node:fs";
import { RpcError, Status } from "@sluice/core";
import type { SysvQueue } from "@sluice/native";
import { errorCode } from "../errors.js";

/** The most bytes that go into one message, where kernel.msgmax does not allow less. */
const MESSAGE_BYTES = 2048;
/** Less holds no connection and what it needs. */
const MIN_QUEUE_BYTES = 2048;

export function messageBytes(): number {
  return Math.min(MESSAGE_BYTES, limit("msgmax") ?? MESSAGE_BYTES);
}

/** Refuses a queue that holds too little. */
export function requireRoom(queue: SysvQueue, doing: string, address: string): void {
  if (queue.bytes >= MIN_QUEUE_BYTES) return;
  throw new RpcError(
    Status.RESOURCE_EXHAUSTED,
    `cannot ${doing} ${address}: a message queue holds ${queue.bytes} bytes here (kernel.msgmnb) and must hold ` +
      `${MIN_QUEUE_BYTES}: raise it with sysctl`,
  );
}

/** Why a client is refused when there is no slot for it. */
export function crowded(queue: SysvQueue): string {
  return (
    `its message queue of ${queue.bytes} bytes (kernel.msgmnb) has no room for another client: ` +
    "raise it with sysctl and start the server again"
  );
}

/** The error to tell when a queue could not be made: which limit it was, and how to raise it (msgget(2)). */
export function limitError(error: unknown, doing: string, address: string): unknown {
  if (errorCode(error) !== "ENOSPC") return error;
  return new RpcError(
    Status.RESOURCE_EXHAUSTED,
    `cannot ${doing} ${address}: there are as many message queues as kernel.msgmni allows (${limit("msgmni") ?? "unknown here"}): ` +
      "raise it with sysctl, or remove queues that nobody uses (ipcs -q, ipcrm)",
    { cause: error },
  );
}

function limit(name: string): number | undefined {
  try {
    return Number(readFileSync(`/proc/sys/kernel/${name}`, "utf8"));
  } catch {
    return undefined;
  }
}
