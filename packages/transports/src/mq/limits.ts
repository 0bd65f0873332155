import { readFileSync } from "node:fs";
import { RpcError, Status } from "@sluice/core";
import { errorCode } from "../errors.js";
import type { QueueSize } from "./options.js";

/** The error to tell when a queue of this size could not be made: which limit it was, and how to raise it (mq_overview(7)). */
export function limitError(error: unknown, size: QueueSize, doing: string, address: string): unknown {
  const { messages, messageBytes } = size;
  const refuse = (why: string): RpcError =>
    new RpcError(Status.RESOURCE_EXHAUSTED, `cannot ${doing} ${address}: ${why}`, { cause: error });
  switch (errorCode(error)) {
    case "EINVAL":
      return refuse(
        `a queue of ${messages} messages of ${messageBytes} bytes is beyond the limits fs.mqueue.msg_max ` +
          `(${limit("msg_max")}) or fs.mqueue.msgsize_max (${limit("msgsize_max")}): raise them with sysctl, or give ` +
          "smaller numbers in the options messages and messageBytes",
      );
    case "EMFILE":
      return refuse(
        `the queues of this user may have ${queueBytes()} bytes in all (RLIMIT_MSGQUEUE), and a queue of ${messages} ` +
          `messages of ${messageBytes} bytes is too much: raise the limit (ulimit -q, in limits.conf msgqueue), close ` +
          "some connections, or give smaller numbers in the options messages and messageBytes; or this process has no file " +
          "descriptor left (ulimit -n)",
      );
    case "ENOSPC":
      return refuse(
        `there are as many queues as fs.mqueue.queues_max allows (${limit("queues_max")}): raise it with sysctl, or ` +
          "remove queues that nobody uses",
      );
    default:
      return error;
  }
}

function limit(name: string): string {
  try {
    return readFileSync(`/proc/sys/fs/mqueue/${name}`, "utf8").trim();
  } catch {
    return "unknown here";
  }
}

function queueBytes(): string {
  try {
    const line = /^Max msgqueue size\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
    return line?.[1] ?? "unknown here";
  } catch {
    return "unknown here";
  }
}
