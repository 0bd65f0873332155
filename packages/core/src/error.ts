import type { Metadata } from "./metadata.js";
import { Status, statusName } from "./status.js";

/** One entry of an error's details: a packed `google.protobuf.Any`. */
export interface ErrorDetail {
  /** Such as `type.googleapis.com/google.rpc.RetryInfo`. */
  readonly typeUrl: string;
  /** The encoded message. */
  readonly value: Uint8Array;
}

export interface RpcErrorOptions {
  readonly details?: readonly ErrorDetail[];
  readonly metadata?: Metadata | undefined;
  readonly mayHaveRun?: boolean;
  readonly cause?: unknown;
}

/** What every copy of this package marks its errors with: there may be two in a program, of two versions or in a bundle. */
const BRAND = Symbol.for("sluice.RpcError");

/**
 * The one error of Sluice: a status code, a message, details and metadata. Handlers throw it to choose the status that
 * the caller sees; calls reject with it.
 */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: Status;
  readonly details: readonly ErrorDetail[];
  /** The response's trailers, as far as they arrived. */
  readonly metadata: Metadata | undefined;
  /**
   * Whether the peer may have executed the call. False only when it is certain that it did not: such a call can be
   * repeated without harm.
   */
  readonly mayHaveRun: boolean;

  static {
    // Not declared, so that the types of two copies stay the same.
    Object.defineProperty(this.prototype, BRAND, { value: true });
  }

  /** Also true of another copy's errors; of a subclass only of its own. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (this !== RpcError) return super[Symbol.hasInstance](value);
    return typeof value === "object" && value !== null && BRAND in value;
  }

  constructor(code: Status, message: string, options: RpcErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? [];
    this.metadata = options.metadata;
    this.mayHaveRun = options.mayHaveRun ?? false;
  }

  /** The code's name, such as `NOT_FOUND`. */
  get codeName(): keyof typeof Status {
    return statusName(this.code);
  }

  override toString(): string {
    return `${this.name}: ${this.codeName}: ${this.message}`;
  }

  /** `error` itself if it is an `RpcError`, else one of `code` (default UNKNOWN) with the same message and `error` as cause. */
  static from(error: unknown, code: Status = Status.UNKNOWN): RpcError {
    if (error instanceof RpcError) return error;
    const message = error instanceof Error ? error.message : String(error);
    return new RpcError(code, message, { cause: error });
  }
}
