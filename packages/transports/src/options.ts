import { RpcError, Status, type TransportOptions } from "@sluice/core";

/** The error for an option of the wrong type or value: says which, what it was, and what is allowed. */
export function invalidOption(name: string, given: unknown, allowed: string): RpcError {
  return new RpcError(Status.INVALID_ARGUMENT, `option ${name} must be ${allowed}, not ${show(given)}`);
}

/** As `invalidOption` for an option that is an object, of which the property `key` is what is wrong. */
function invalidProperty(name: string, given: unknown, key: string, allowed: string): RpcError {
  if (typeof given !== "object" || given === null || !(key in given))
    return invalidOption(name, given, allowed);
  const value = (given as Record<string, unknown>)[key];
  return new RpcError(
    Status.INVALID_ARGUMENT,
    `option ${name} must be ${allowed}, not { ${key}: ${show(value)} }`,
  );
}

function show(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return "a function";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object" && value !== null)
    return `an object (${value.constructor?.name ?? "Object"})`;
  return String(value);
}

export function signalOption(options: TransportOptions): AbortSignal | undefined {
  const { signal } = options;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalidOption("signal", signal, "an AbortSignal");
  }
  return signal;
}

export function booleanOption(options: TransportOptions, name: string): boolean | undefined {
  const value = options[name];
  if (value !== undefined && typeof value !== "boolean") throw invalidOption(name, value, "true or false");
  return value;
}

/** How long an end polls before it sleeps, unless the option `poll` says otherwise: about what waking it costs. */
const DEFAULT_POLL_US = 50;
const MAX_POLL_US = 1000;

/** The option `poll: { us }`: for how many microseconds at most this end polls before it sleeps. */
export function pollOption(options: TransportOptions): number {
  const value = options["poll"];
  if (value === undefined) return DEFAULT_POLL_US;
  const us = typeof value === "object" && value !== null ? (value as { us?: unknown }).us : undefined;
  if (typeof us !== "number" || !Number.isInteger(us) || us < 0 || us > MAX_POLL_US) {
    throw invalidProperty(
      "poll",
      value,
      "us",
      `{ us: N } with an integer N from 0 (never) to ${MAX_POLL_US}`,
    );
  }
  return us;
}
