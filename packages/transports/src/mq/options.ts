import type { TransportOptions } from "@sluice/core";
import { invalidOption } from "../options.js";

const DEFAULT_MESSAGES = 8;
const DEFAULT_MESSAGE_BYTES = 2048;
/** Room for one message of a connection's stream, and for those that take no slots. */
const MIN_MESSAGES = 4;
const MIN_MESSAGE_BYTES = 256;
const MAX_MESSAGE_BYTES = 64 * 1024;

/** How large the queue is from which one end receives. */
export interface QueueSize {
  readonly messages: number;
  readonly messageBytes: number;
}

/** The options `messages` and `messageBytes`. */
export function sizeOption(options: TransportOptions): QueueSize {
  return {
    messages: integerOption(options, "messages", DEFAULT_MESSAGES, MIN_MESSAGES, 65536),
    messageBytes: integerOption(
      options,
      "messageBytes",
      DEFAULT_MESSAGE_BYTES,
      MIN_MESSAGE_BYTES,
      MAX_MESSAGE_BYTES,
    ),
  };
}

function integerOption(
  options: TransportOptions,
  name: string,
  otherwise: number,
  least: number,
  most: number,
): number {
  const value = options[name];
  if (value === undefined) return otherwise;
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
    throw invalidOption(name, value, `an integer from ${least} to ${most}`);
  }
  return value as number;
}
