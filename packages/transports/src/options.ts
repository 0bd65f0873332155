import { RpcError, Status, type TransportOptions } from "@sluice/core";

/** The error for an option of the wrong type or value: says which, what it was, and what is allowed. */
export function invalidOption(name: string, given: unknown, allowed: string): RpcError {
  return new RpcError(Status.INVALID_ARGUMENT, `option ${name} must be ${allowed}, not ${show(given)}`);
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
