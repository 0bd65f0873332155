/**
 * The transport contract: what a carrier of frames must do, and what a session may rely on.
 *
 * A *frame* is one unit of the wire protocol: a 12-byte header, whose first four bytes are the payload's length
 * (u32, little-endian), then the payload. Carriers of bytes (sockets, pipes) may find a frame's end by that length;
 * carriers of messages (rings, queues) need not look inside. No transport interprets anything else of a frame.
 *
 * A connection carries whole frames, in order, reliably, with back-pressure, between two endpoints.
 */

/** Size of the header that begins every frame, in bytes. */
export const FRAME_HEADER_BYTES = 12;

/** What a connection promises of itself; constant for its lifetime. */
export interface Traits {
  /** The largest frame (header included) that the connection always carries, in bytes: 16 KiB to 64 KiB plus a header's room. */
  readonly maxFrameBytes: number;
  /**
   * How the peer's death is learned: `carrier` when the kernel tells (a hang-up, end of file), `keepalive` when only
   * silence does. Sessions send keepalive PINGs by default only where it is `keepalive`.
   */
  readonly peerDeath: "carrier" | "keepalive";
  /** Whether `Transport.connect` with the same address can reach the peer again after this connection is lost. */
  readonly reconnectable: boolean;
}

/** What the kernel (or a TLS certificate) vouches for about the other end. Never what the peer claims of itself. */
export interface Peer {
  /** The address that was connected to, or the listener's, as a Sluice address. */
  readonly address: string;
  /** Process, user and group of the peer at the time it connected, where the kernel tells (SO_PEERCRED, unix(7)). */
  readonly pid?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** The remote IP address and port of an IP carrier. */
  readonly remoteAddress?: string;
  readonly remotePort?: number;
  /** The peer's verified certificate of a TLS carrier, in the shape of `tls.PeerCertificate`. */
  readonly certificate?: unknown;
}

/**
 * Whom a connection tells. The connection calls these only from the event loop, and never from inside one of its own
 * methods: not from `start`, `reserve`, `commit`, `cancel`, `flush`, `close` or `destroy`.
 */
export interface ConnectionHandler {
  /**
   * A whole frame arrived: `memory[start..end)`. The bytes are private to this process (no peer can change them) and
   * valid only until this returns; whoever keeps any must copy. If it throws, the connection is destroyed with that
   * error, and nothing else is harmed. Frames keep coming while the connection's own sending is blocked.
   */
  onFrame(memory: Uint8Array, start: number, end: number): void;
  /** The same of a large frame, which must be released. Called only by connections that have `large`. */
  onLargeFrame?(frame: LargeFrame): void;
  /** There is room again, after a `reserve` that returned false. */
  onWritable(): void;
  /**
   * The connection is gone; nothing more will be called. Exactly once for every started connection, however it ended.
   * `error` says why when it was not an orderly end (`close` here, or an orderly end by the peer).
   */
  onClose(error: Error | undefined): void;
}

/** What a connection offers for frames larger than `Traits.maxFrameBytes`. */
export interface LargeFrames {
  /** The largest of them, header included, in bytes. */
  readonly maxBytes: number;
  /** Whether there is memory for another now: only then may `reserve` be asked for more than `Traits.maxFrameBytes`. */
  readonly available: boolean;
}

/**
 * A large frame that has arrived, where the peer put it: unlike all that `onFrame` is given, its bytes can still be changed by the
 * peer, between any two looks at one of them. It belongs to the handler until `release`, or the connection's end.
 */
export interface LargeFrame {
  /** The frame is `memory[start..end)`. */
  readonly memory: Uint8Array;
  readonly start: number;
  readonly end: number;
  /** Whether `lend` was called. */
  readonly lent: boolean;
  /**
   * `memory[start..end)`, a part of the frame's payload, as a Uint8Array of its own, for users: it has no bytes any more after `release`.
   * Throws when that was, and for what is not in the payload.
   */
  lend(start: number, end: number): Uint8Array;
  /** Give the memory back to the peer. Idempotent. */
  release(): void;
}

/** Sends and receives frames. Not re-entrant: one reservation at a time. */
export interface Connection {
  readonly traits: Traits;
  readonly peer: Peer;
  /** Where there is memory for large frames. Its frames are given to `onLargeFrame`, which the handler must then have. */
  readonly large?: LargeFrames | undefined;

  /** Begin delivering to `handler`. Called once; frames that arrived before are delivered then, not from inside. */
  start(handler: ConnectionHandler): void;

  /**
   * Ask for at least `min` bytes (at most `traits.maxFrameBytes`, but see `LargeFrames`) of the memory that the kernel or the peer will read.
   * True: the range is `memory[rangeStart..rangeEnd)`, and exactly one `commit` or `cancel` must follow before the next
   * `reserve`. False: there is no room (or the connection is closing); `onWritable` will be called when there is some.
   */
  reserve(min: number): boolean;
  /**
   * Make the open reservation one of at least `min` bytes of a large frame, which begins with the first `used` bytes of the range
   * until now. Only while `large.available`.
   */
  widen?(used: number, min: number): void;
  /** The range of the last successful `reserve` or `widen`. Valid only between it and its `commit` or `cancel`. */
  readonly memory: Uint8Array;
  readonly rangeStart: number;
  readonly rangeEnd: number;
  /** Send the first `used` bytes of the range: one whole frame. What was committed is delivered in order. */
  commit(used: number): void;
  /** Give the range back unused. Nothing is sent. */
  cancel(): void;
  /** Hand what was committed to the kernel now. It happens by itself at the end of each turn of the event loop. */
  flush(): void;
  /** Bytes committed but not yet taken by the kernel or the peer: what a small frame committed now must wait for. */
  readonly unsentBytes: number;

  /** Orderly end: deliver what was committed, then close. `onClose(undefined)` follows. Idempotent. */
  close(): void;
  /** End at once; what was committed may be lost. `onClose(error)` follows. Idempotent; may follow `close`. */
  destroy(error?: Error): void;

  /** Whether this connection alone keeps the process alive (it does until `unref`). */
  ref(): void;
  unref(): void;
}

/**
 * A connection that whoever needs it drives, instead of an event loop. It calls its handler from inside `wait` only, and
 * flushes there.
 */
export interface BlockingConnection extends Connection {
  /** Whether this end made the connection, rather than accepted it. */
  readonly connecting: boolean;
  /** Whether it is over, which `wait` tells the handler at the latest. */
  readonly ended: boolean;
  /** Whether `wait` may have something to deliver at once, as far as that is known without a system call. */
  readonly mayHaveInput: boolean;
  /**
   * Delivers what has arrived. If there is nothing, waits for up to `timeoutMs` (which may be Infinity) first; also for room
   * after a `reserve` that returned false, and for the peer's end. May return early with nothing delivered.
   */
  wait(timeoutMs: number): void;
}

/** Accepts connections at one address. */
export interface Listener {
  /** The address to connect to: as given, with what was chosen at run time (a port of 0) filled in. */
  readonly address: string;
  /**
   * Stop accepting and leave nothing behind (socket files, locks). Connections already accepted live on.
   * Resolves when the address can be listened on again. Idempotent.
   */
  close(): Promise<void>;
  ref(): void;
  unref(): void;
}

/** Told of what a listener did not accept: of a `peer` that it refused, or, without one, why it can accept nobody for now. */
export type ReportError = (error: Error, peer?: Peer) => void;

/** Options common to every transport; each transport documents its own beside these. */
export interface TransportOptions {
  /** Gives up connecting when aborted; `connect` rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  readonly [option: string]: unknown;
}

/** Turns a kernel object named by an address into connections of frames. */
export interface Transport {
  /** The part of an address before its first colon, such as `unix`. */
  readonly scheme: string;
  /**
   * Connect to `address`. Rejects with an `RpcError`: INVALID_ARGUMENT for a malformed address or option,
   * UNAVAILABLE when nobody answers, PERMISSION_DENIED when the kernel or a peer check refuses.
   */
  connect(address: string, options: TransportOptions): Promise<Connection>;
  /**
   * Connect without the event loop, for synchronous clients, blocking for up to `timeoutMs`. Optional. Rejects as `connect`, by
   * throwing; UNAVAILABLE, too, when the time is over. `options` has no signal.
   */
  connectSync?(address: string, options: TransportOptions, timeoutMs: number): BlockingConnection;
  /**
   * Listen at `address`; `accept` is called once per connection, which it must `start` or `destroy`, and `report` from the
   * event loop with what keeps others from being accepted.
   * Rejects like `connect`, with ALREADY_EXISTS when the address is in use by a live listener.
   */
  listen(
    address: string,
    accept: (connection: Connection) => void,
    options: TransportOptions,
    report?: ReportError,
  ): Promise<Listener>;
}
