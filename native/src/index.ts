/**
 * The typed face of Sluice's addon: kernel objects and bytes in Node's own event loop. It knows nothing of frames or
 * RPC.
 *
 * Everything here belongs to one *environment*: the main thread or one worker. Callbacks run in the environment's
 * event loop, never from inside a method of this module, each with its microtasks and `process.nextTick` callbacks
 * drained after it. Objects that are open are not garbage-collected: close them. What is still open when the
 * environment ends (a terminated worker included) is closed with it.
 *
 * Descriptors are plain numbers. One that a function here returns, or that a callback here receives, is the caller's
 * until it is given to a `ByteChannel` or to `closeFd`; no other way of closing it is right, since what a worker never
 * gave back is closed when the worker ends. Every descriptor is made close-on-exec.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** An error of a system call. Its message names the call, the error and what it was about. */
export interface SystemError extends Error {
  /** The error's name, such as `ECONNRESET`. */
  readonly code: string;
  /** The error's number, negative, as in Node's own errors. */
  readonly errno: number;
  /** The system call that failed, such as `connect`. */
  readonly syscall: string;
}

/**
 * Memory from which a channel's bytes are written. A slab belongs to one channel from `ByteChannel.acquire` until all
 * its bytes have been handed to the kernel, and is then free for others; there are few of them, shared by all channels
 * of the environment. Drop the reference when `words[2]` is no longer the channel's id: it keeps 320 KiB alive.
 * The buffer must never be transferred.
 */
export interface WriteSlab {
  /** The whole slab, 320 KiB. Its first 16 bytes are `words`; data begins at byte 16. */
  readonly memory: Uint8Array;
  /**
   * Overlays the first 16 bytes of `memory`:
   * - `words[0]`, START: where unsent data begins, a byte offset into `memory`. Written by the addon only.
   * - `words[1]`, END: where it ends. The owner appends at END, then moves END. It may do so at any time, also while
   *   the channel waits for the kernel to take more.
   * - `words[2]`, OWNER: the id of the channel that may write here, 0 when the slab is free. Written by the addon only.
   * - `words[3]`, HELD: set non-zero by the owner while it writes beyond END before moving it, and zero afterwards. It
   *   stops `acquire` on other channels and `flush` from sending and freeing the slab meanwhile.
   */
  readonly words: Int32Array;
}

/** Whom a channel tells. `onRead` is looked up when the channel is made, the others when they are called. */
export interface ByteHandler {
  /**
   * `readSlab[carry..end)` has just been read, where `carry` is what this handler returned last time (0 at first).
   * Other channels have used `readSlab` meanwhile, so before it parses `[0..end)` the handler restores its own bytes
   * into `readSlab[0..carry)`. Returns how many bytes at the end of `[0..end)` form an incomplete frame, which it has
   * saved. If it throws, the channel is closed and the error is an uncaught exception.
   */
  onRead(end: number): number;
  /** Everything written before has been handed to the kernel, after `wantWritable`. */
  onWritable(): void;
  /**
   * End of file: the peer has closed its writing side. At most once; reading has stopped, but writing may go on until
   * `close`.
   */
  onEnd(): void;
  /**
   * The channel failed (`EPIPE`, `ECONNRESET`, ...). At most once, the channel is closed already, and nothing follows.
   * When writing failed, what could still be read was delivered first. May follow `onEnd`, but an end of file that is
   * found after writing failed is told by this alone.
   */
  onError(error: SystemError): void;
  /**
   * Descriptors arrived with the bytes that the next `onRead` brings; they are now the handler's. Required when
   * `maxDescriptors` is given.
   */
  onDescriptors?(fds: number[]): void;
}

export interface ByteChannelOptions {
  /**
   * How many descriptors to take from the peer over the channel's whole life, 0 to 253. Default 0: the kernel closes
   * any that arrive, unseen. A message that brings more than are left fails the channel with `EPROTO`, or with `EMFILE`
   * when this process has no room for them.
   */
  readonly maxDescriptors?: number;
  /**
   * The most that `onRead` is given at a time, carried bytes included: 1 to 327,680 (all of `readSlab`, the default). What lies
   * beyond stays in the kernel, for whoever gets the descriptor after `detach`.
   */
  readonly maxReadBytes?: number;
  /**
   * For how many microseconds to poll before the event loop waits, each time that something was read or written: 0 to 1,000; shorter
   * where that was seen not to pay, and rarely for 800 where both ends may have been asleep. Default 0: never.
   */
  readonly pollMicroseconds?: number;
}

/**
 * Bytes both ways over a socket, or over one descriptor for reading and another for writing. Writing goes through
 * slabs: what is in a channel's slab is written by one system call at the end of this turn of the event loop, or
 * directly after the callback of this module during which it was put there. If the kernel does not take everything, the
 * channel keeps the slab and the rest follows when there is room. Unsent bytes keep the event loop alive, even after
 * `unref`. At `process.exit`, what the kernel takes without waiting is still written.
 */
export interface ByteChannel {
  /** Greater than 0; unique among the environment's open channels. */
  readonly id: number;
  /** Begin to read. Called once. */
  start(): void;
  /**
   * Take a free slab: START and END are 16, OWNER is `id`. To be called only when the channel owns none (when
   * `slab.words[2] !== id`). Its bytes are sent without any further call. Throws when the channel is closed, or was
   * shut down for writing.
   */
  acquire(): WriteSlab;
  /** Write what is unsent now, as far as the kernel takes it. Errors are told by `onError` later. */
  flush(): void;
  /** Ask for one `onWritable` when the channel has nothing unsent; soon, if it has nothing unsent now. */
  wantWritable(): void;
  /**
   * After what is unsent has been handed to the kernel, tell the peer that no more follows: shut the socket down for
   * writing, or close the descriptor for writing. Idempotent.
   */
  shutdownWrite(): void;
  /** Close now. Unsent bytes are lost, and no callback follows. Idempotent. */
  close(): void;
  /** Let this channel keep the event loop alive while it reads (the default), or not. */
  ref(): void;
  unref(): void;
  /**
   * Send `bytes` (1 to 4,096) now, and copies of `fds` (1 to 253) with them, by `SCM_RIGHTS`; `fds` remain the caller's. Throws
   * `EAGAIN` without sending when the kernel has no room. Only on Unix sockets.
   */
  sendDescriptors(bytes: Uint8Array, fds: readonly number[]): void;
  /**
   * Close the channel, but not its descriptor, which is the caller's again. Throws when something is unsent, and on channels
   * that have two descriptors.
   */
  detach(): number;
}

/** Whom a datagram channel tells. `onPackets` is looked up when the channel is made. */
export interface DatagramHandler {
  /** The records of `readSlab[0..end)` have just come. */
  onPackets(end: number): void;
  /**
   * Nobody receives at the address of the record at the front of `readSlab`, which has nothing else: so this host's kernel says, or the
   * network (ICMP), after something was sent there.
   */
  onRefused(): void;
  /** The socket is broken, and closed. */
  onError(error: SystemError): void;
}

/**
 * A datagram socket. Datagrams pass many at a time, as records that each begin at a multiple of 4 with a header of 36 bytes:
 * - i32: how far away the next record is;
 * - i32: how many bytes follow the header;
 * - i32: the length of each datagram in them but the last, which may be shorter; they follow one another;
 * - u16, u16: the family (4 or 6) and the port of the other end; its IP address in 16 bytes, of which IPv4 takes 4; its scope (u32).
 *   Not read when a connected channel sends.
 *
 * The records of one call leave by as few system calls as there can be (sendmmsg(2); one message for all datagrams of a record by
 * UDP_SEGMENT), and come so (recvmmsg(2), UDP_GRO; udp(7)).
 */
export interface DatagramChannel {
  /** Where it is bound, with a port of 0 replaced by the one chosen. */
  address(): SocketAddress;
  /**
   * How much the kernel holds of what nobody has read yet, in bytes as it counts them: with its own overhead, which is more than half for
   * small datagrams (SO_RCVBUF, socket(7)). As much as net.core.rmem_max allows, up to twice 4 MiB.
   */
  receiveBufferBytes(): number;
  /**
   * How long a datagram is at most that is sent in one piece to an address (of a connected channel, always to its peer): what the kernel
   * knows of the route, which is the interface's MTU, or less if a router has said so, less the headers. Datagrams of more than 1,232
   * bytes are never fragmented: longer ones than this are lost. Throws a `SystemError` (`ENETUNREACH`, ...) where there is no route.
   */
  largestDatagram(to: SocketAddress): number;
  /** Begin to receive. Called once. */
  start(): void;
  /**
   * Send the records of `memory[0..end)` now. What the kernel has no room for, or cannot send, is lost, as datagrams may be.
   * Throws a `TypeError` for malformed records, and when the channel is closed.
   */
  send(memory: Uint8Array, end: number): void;
  /** Close now; no callback follows. Idempotent. */
  close(): void;
  ref(): void;
  unref(): void;
}

/**
 * Where a segment's memory comes from: a sealed `memfd`, a POSIX shared memory object (`shm_open`), a System V segment
 * (`shmget`) or a file. None has a name for longer than it takes to make it, so none can be left behind.
 */
export type SegmentKind = "memfd" | "posix" | "sysv" | "file";

/**
 * Memory that two processes share: a header of 4,096 bytes, two rings, each mapped twice in a row so that no record ever
 * wraps, and 16 blocks for large frames for each end. docs/shared-memory.md has the layout.
 */
export interface Segment {
  /**
   * The mapping before the blocks: 4,096 bytes, the first ring's data twice, the second ring's data twice. The peer can write to
   * it at any time. Detached by `close`. It must never be transferred, nor handed to users.
   */
  readonly buffer: ArrayBuffer;
  /**
   * `fault[0]` becomes 1 when a page of the segment was found missing (its file was truncated): all of it has been replaced
   * by zeroes in this process, and what is in it means nothing any more.
   */
  readonly fault: Int32Array;
  /** What the peer opens the segment with: a descriptor, which remains the segment's, or a System V segment's number. */
  readonly handle: number;
  /** Close the descriptor once the peer has a copy; the mapping remains. Idempotent. */
  closeHandle(): void;
  /**
   * `length` bytes of the mapping (which begins with `buffer`, and goes on with the first end's blocks and the second end's) from
   * `start` on as an ArrayBuffer of its own, which may be handed to users, until `recall`. The memory stays mapped as long as anything
   * refers to it, also where a user has moved it. V8 counts it as external memory. Throws if the segment is closed, for a range that is
   * not in it, and if one that begins there is lent already.
   */
  lend(start: number, length: number): ArrayBuffer;
  /** Detach what `lend` returned. */
  recall(buffer: ArrayBuffer): void;
  /**
   * Let the system have the memory of a part of the blocks: `length` bytes of the mapping from `start` on, whole pages, which are
   * zero from then on, at both ends; or stay as they are where the system cannot take them, as where a process has locked them
   * (mlockall(2)). Throws if the segment is closed, and for a range that is none of the blocks'.
   */
  discard(start: number, length: number): void;
  /** Remove the mapping; `recall` first. Throws while a `RingChannel` uses it. Idempotent. */
  close(): void;
}

/** Whom a ring channel tells. `onWake` is looked up when the channel is made. */
export interface RingHandler {
  /** There may be something to take, or the room that was waited for. */
  onWake(): void;
  /** The peer is gone, and the channel is closed already. What the peer published before is in the ring. */
  onEnd(): void;
}

/**
 * One end of a segment's rings: it sleeps until there is something, and wakes a peer that sleeps. The caller moves the
 * data, and keeps `words` true:
 * - `words[0]`, TAKEN: how many bytes it has taken from its inbound ring, as it published last.
 * - `words[1]`, PUBLISHED: how many bytes it has published in its outbound ring.
 * - `words[2]`, WAITING: for how many free bytes in the outbound ring it waits; 0 for none.
 * - `words[3]`, LISTED: whether the channel is being polled. Written by the addon only. When it is 0 after something was
 *   published, call `watch`.
 * - `words[4]`, ALONE: 1 if it is polled and no other channel is, so that more may be looked for, in microtasks after `onWake`, before
 *   the addon goes on; else 0. Written by the addon only, before each `onWake`.
 */
export interface RingChannel {
  readonly words: Int32Array;
  /** Begin to hear the peer. Called once. */
  start(): void;
  /** Something was published, and may be answered soon: poll for a while before sleeping. */
  watch(): void;
  /** Wake the peer, whose flag was taken down and had been `how`: 1 for its doorbell, 2 for its semaphore. */
  ring(how: number): void;
  /** Close now, with the doorbell's socket; no callback follows. The segment remains. Idempotent. */
  close(): void;
  ref(): void;
  unref(): void;
}

/**
 * A `RingChannel` without an event loop, for callers that cannot return to one: its owner waits. The owner keeps `words` as
 * there; LISTED stays 1, and ALONE 0.
 */
export interface RingWaiter {
  readonly words: Int32Array;
  /**
   * Wait for up to `timeoutMs` (Infinity for ever): 1 when there is something to take or the room that was waited for, -1 when
   * the peer is gone and all that it published has been taken, 0 when the time is over. With 0 it only looks.
   */
  wait(timeoutMs: number): -1 | 0 | 1;
  ring(how: number): void;
  /** Close now, with the doorbell's socket. The segment remains. Idempotent. */
  close(): void;
}

/**
 * System calls for callers that cannot return to the event loop. Those that wait block the thread, and with it
 * every timer and callback of the environment. All throw `SystemError`s. Descriptors are expected not to block.
 */
export interface Blocking {
  /** Read into `bytes[start..]`: how many bytes, 0 at the end of file, -1 when there is nothing yet. */
  read(fd: number, bytes: Uint8Array, start: number): number;
  /** Write `bytes[start..end)`: how many were taken, -1 when there is no room. */
  write(fd: number, bytes: Uint8Array, start: number, end: number): number;
  /** As `read`, from a Unix socket; a descriptor that comes with the bytes becomes `received[0]`, the caller's; another fails with `EPROTO`. */
  receiveDescriptor(
    fd: number,
    bytes: Uint8Array,
    start: number,
    end: number | undefined,
    received: number[],
  ): number;
  /**
   * Wait for up to `timeoutMs`, in which the thread cannot be ended, until `readFd` can be read (or has ended) or `writeFd` be
   * written (-1 for neither): first by asking again and again for `pollMicroseconds` (0 to 1,000), then asleep. False when the
   * time is over.
   */
  awaitReady(readFd: number, writeFd: number, timeoutMs: number, pollMicroseconds: number): boolean;
  /** Tell the peer of a socket that nothing more is written (`SHUT_WR`). */
  shutdown(fd: number): void;
  /**
   * Begin to connect a stream socket; its descriptor, which does not block, is the caller's, and can be written once there is an
   * outcome. `EAGAIN` when a Unix listener's backlog is full: nothing tells when it has room again.
   */
  startConnecting(address: SocketAddress): number;
  /** Throw what connecting has failed with, and `ETIMEDOUT` as long as there is no outcome. */
  finishConnecting(fd: number, address: SocketAddress): void;
  /** The numeric addresses of a host, for as long as getaddrinfo(3) takes. A `TypeError` if it cannot be resolved. */
  resolve(host: string): string[];
}

/**
 * Where a socket listens or connects: a Unix socket's `path`, or an abstract name written `@NAME`, at most 107 bytes
 * (unix(7)); or a numeric IPv4 or IPv6 address. Names are not resolved here.
 */
export type SocketAddress = { readonly path: string } | { readonly address: string; readonly port: number };

/** What the kernel says of the process at the other end, at the time it connected or began to listen. */
export interface PeerCredentials {
  /** 0 when the peer is in another pid namespace. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Who connected: the credentials on a Unix socket, the remote address on TCP. */
export type AcceptedPeer = PeerCredentials | { readonly address: string; readonly port: number };

export interface ListenerHandler {
  /** A connection was accepted. `fd`, which does not block, is now the handler's. TCP has `TCP_NODELAY` set, and `TCP_NOTSENT_LOWAT`. */
  onConnection(fd: number, peer: AcceptedPeer): void;
  /**
   * No descriptor or memory is left for another connection (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`). The listener
   * goes on when this environment closes a descriptor, or else tries again after 100 ms; the kernel keeps those who
   * wait. If accepting fails in any other way, the listener is closed already when it is told.
   */
  onError(error: SystemError): void;
}

export interface ListenOptions {
  /** How many connections may wait to be accepted; the kernel caps it at net.core.somaxconn. Default 511. */
  readonly backlog?: number;
  /** The socket file's permissions. They hold from before the file appears. Default 0o600. */
  readonly mode?: number;
  /** Whether `::` refuses IPv4. Default true. */
  readonly ipv6Only?: boolean;
}

/** Accepts connections at one address, at most 64 in each turn of the event loop. */
export interface SocketListener {
  /** Where it listens, with a port of 0 replaced by the one chosen. */
  address(): SocketAddress;
  /** Stop listening. The socket file is removed, if it is still this listener's. Idempotent. */
  close(): void;
  ref(): void;
  unref(): void;
}

export interface ConnectorHandler {
  /** Connected. `fd`, which does not block, is now the handler's. TCP has `TCP_NODELAY` set, and `TCP_NOTSENT_LOWAT`. */
  onConnect(fd: number): void;
  onError(error: SystemError): void;
}

/** One attempt to connect. Ends in exactly one of `onConnect` and `onError`, unless cancelled. */
export interface SocketConnector {
  /** Give up; no callback follows. Idempotent. */
  cancel(): void;
}

/** Whom a message queue tells. `onMessages` is looked up when the queue is made. */
export interface QueueHandler {
  /**
   * Messages have arrived: `readSlab[0..end)` holds one behind the other, each as its length in bytes (u32, little-endian,
   * not aligned) and then its bytes. They are valid until this returns.
   */
  onMessages(end: number): void;
  /** There may be room again, after `awaitRoom`. */
  onRoom(): void;
  /** Receiving failed, and the queue is closed already. */
  onError(error: SystemError): void;
}

/** A message queue of the kernel, open in this environment's event loop. */
export interface MessageQueue {
  /** The user it belongs to, and its permissions. */
  readonly uid: number;
  readonly mode: number;
  /** Begin to receive. Called once. */
  start(): void;
  /**
   * Send one message, `header` and behind it `memory[start..end)`; nothing of it is kept. False when there is no room.
   * Throws a `SystemError` when it cannot be sent at all, and when the queue is closed.
   */
  send(header: Uint8Array): boolean;
  send(header: Uint8Array, memory: Uint8Array, start: number, end: number): boolean;
  /** Ask for one `onRoom`. */
  awaitRoom(): void;
  /** For how many microseconds to poll, as of a `ByteChannel`, each time that something was sent or received. At first 0. */
  poll(microseconds: number): void;
  /** A message to be sent, without waiting for room, if this environment ends while the queue is open. Empty for none. */
  setLastWords(message: Uint8Array): void;
  /** Whether the process lives that made the queue, as far as that can be seen from here. */
  held(): boolean;
  /** Close now; no callback follows. A queue that this object made is removed. Idempotent. */
  close(): void;
  ref(): void;
  unref(): void;
}

/** A POSIX message queue (mq_overview(7)). */
export interface PosixQueue extends MessageQueue {
  /** How many messages it holds, and how many bytes each may have. */
  readonly messages: number;
  readonly messageBytes: number;
  /** Remove the name; the queue remains for those who have it open. Idempotent. */
  remove(): void;
}

/**
 * A System V message queue (sysvipc(7)). It has a thread of its own once it was started, and whoever waits for room in it looks
 * again after 1 ms, later every 64 ms.
 */
export interface SysvQueue extends MessageQueue {
  /** The number by which every process can open it. */
  readonly id: number;
  /** 0 for none. */
  readonly key: number;
  /** How many bytes of messages it holds. */
  readonly bytes: number;
  /** The processes that sent to it and received from it last before it was opened here, as the kernel says; 0 for one that cannot be seen. */
  readonly senderPid: number;
  readonly receiverPid: number;
  /** Remove the queue; nobody can use it any more. Idempotent. */
  remove(): void;
  /** Have the queue `id`, which has no key, removed together with this one after a crash, if it is not held then. */
  note(id: number): void;
  /** Take that back. */
  forget(id: number): void;
}

/** Tells of a process's end. It does not keep the event loop alive. */
export interface ProcessWatch {
  /** Watch no more; no callback follows. Idempotent. */
  close(): void;
}

/**
 * AES-256-GCM (NIST SP 800-38D) under one key, in place, by the OpenSSL that Node has in it. The nonce of a packet is four zero bytes
 * and its number, big-endian (as of Noise, section 12.3): to seal two packets under one number gives both away.
 *
 * Numbers are integers from 0 to 2^53 - 1. Both methods throw a `TypeError` when the range is not within `memory`.
 */
export interface AesGcm {
  /**
   * Encrypts `memory[payload..end)`, authenticates it and `memory[start..payload)`, and puts the tag at `memory[end..end + 16)`.
   */
  seal(memory: Uint8Array, start: number, payload: number, end: number, number: number): void;
  /**
   * Whether `memory[start..end)`, tag and all, is what `seal` made. If so, `memory[payload..end - 16)` is what it was given; if not,
   * nothing is there.
   */
  open(memory: Uint8Array, start: number, payload: number, end: number, number: number): boolean;
}

/** What a descriptor is open on (fstat(2)). */
export type DescriptorKind = "socket" | "pipe" | "file" | "directory" | "terminal" | "device" | "other";

export interface Native {
  /** Where all channels of this environment read to, 320 KiB. Valid within `onRead`. Must never be transferred. */
  readonly readSlab: Uint8Array;

  /**
   * Takes ownership of the descriptors (one number twice for a socket) and makes them non-blocking. Throws, and takes
   * nothing, when one cannot be polled (a regular file) or already is in this environment.
   */
  readonly ByteChannel: new (
    readFd: number,
    writeFd: number,
    handler: ByteHandler,
    options?: ByteChannelOptions,
  ) => ByteChannel;

  /** The key has 32 bytes, which are copied. Undefined in a runtime without OpenSSL's functions: Node has them. */
  readonly AesGcm: (new (key: Uint8Array) => AesGcm) | undefined;

  /** Binds and listens at once; throws a `SystemError` (`EADDRINUSE`, `EACCES`, ...) when that fails. */
  readonly SocketListener: new (
    address: SocketAddress,
    handler: ListenerHandler,
    options?: ListenOptions,
  ) => SocketListener;

  /**
   * A datagram socket that is bound to `address`, or else connected to it: then it receives from there alone. It polls for up to
   * `pollMicroseconds` as a `ByteChannel` does, by default 0. Throws a `SystemError` (`EADDRINUSE`, ...) when that fails.
   */
  readonly DatagramChannel: new (
    address: SocketAddress,
    connected: boolean,
    handler: DatagramHandler,
    pollMicroseconds?: number,
  ) => DatagramChannel;

  /**
   * Makes a segment with two rings of `capacity` bytes each (a power of two from 4,096 to 2^30): for `file`, `from` is the
   * directory to make it in. `block`, the bytes of each block, is a multiple of 4,096 (0 for none); only a memfd has any. Or opens, when `from` is a number, the one that a peer's `handle` stands for; a descriptor is
   * not taken over. Throws a `SystemError`, or a `TypeError` when what was opened is not such a segment.
   */
  readonly Segment: new (
    kind: SegmentKind,
    capacity: number,
    block: number,
    from?: string | number,
  ) => Segment;

  /**
   * Takes ownership of `fd`, the Unix socket whose bytes are the doorbell and whose hang-up tells of the peer's end.
   * `endpoint` 0 writes the segment's first ring, 1 its second. After each action the channel polls for up to
   * `pollMicroseconds`, as a `ByteChannel` does, before it lets the event loop wait.
   */
  readonly RingChannel: new (
    fd: number,
    segment: Segment,
    endpoint: 0 | 1,
    handler: RingHandler,
    pollMicroseconds: number,
  ) => RingChannel;

  /**
   * As `RingChannel`, to be waited on: in the semaphore of the segment, if `onSemaphore`, instead of on the socket. The
   * peer's death is noticed within 50 ms then.
   */
  readonly RingWaiter: new (
    fd: number,
    segment: Segment,
    endpoint: 0 | 1,
    onSemaphore: boolean,
    pollMicroseconds: number,
  ) => RingWaiter;

  readonly PosixQueue: {
    /**
     * Opens the queue `name`, to send to it; or makes it with mode 0600, if `size` is given. Throws a `SystemError`: `ENOENT` if
     * there is none, `EADDRINUSE` if it is to be made and there is one, `EACCES`; `EINVAL`, `EMFILE` or `ENOSPC` for a limit
     * (mq_open(3)).
     */
    new (
      name: string,
      handler: QueueHandler,
      size?: { readonly messages: number; readonly messageBytes: number },
    ): PosixQueue;
    /**
     * Removes the queue `name` if there is one that is not `held`, and returns the messages in it. Throws a `SystemError`: `EPERM` if
     * it is another user's.
     */
    removeDead(name: string): Uint8Array[];
  };

  readonly SysvQueue: {
    /**
     * Opens a queue, by its key or number, to send to it; or makes it with mode 0600: one without a key for `{}`, or with `make`
     * that of a key. Throws a `SystemError`: `ENOENT`, `EINVAL` or `EIDRM` if there is none, `EADDRINUSE` if it is to be made and
     * there is one, `EACCES`; `ENOSPC` for the limit kernel.msgmni (msgget(2)).
     */
    new (
      which: { readonly key?: number; readonly id?: number },
      handler: QueueHandler,
      make?: boolean,
    ): SysvQueue;
    /**
     * Removes the queue of a key if there is one that is not `held`, with those that it has noted and that are not held either, and
     * returns the messages in it; or only that with the number, if it has no key and is not held. Throws a `SystemError`: `EPERM` if
     * the queue of the key is another user's.
     */
    removeDead(which: { readonly key: number } | { readonly id: number }): Uint8Array[];
  };

  /** Calls `onExit` when the process has ended; it is closed then. Throws a `SystemError`: `ESRCH` if there is no such process. */
  readonly ProcessWatch: new (pid: number, handler: { onExit(): void }) => ProcessWatch;

  /**
   * Something was written to, or read from, a descriptor of this environment's event loop that is no channel's, such as one of
   * Node's own sockets: poll for up to `pollMicroseconds` as a `ByteChannel` does.
   */
  noteWritten(pollMicroseconds: number): void;
  noteRead(pollMicroseconds: number): void;

  readonly blocking: Blocking;

  /**
   * Begins to connect. Every failure of the attempt is told by `onError`. When a Unix listener's backlog is full the attempt is repeated, first after
   * 1 ms, later every 64 ms, for 10 s, and then fails with `EAGAIN`.
   */
  readonly SocketConnector: new (address: SocketAddress, handler: ConnectorHandler) => SocketConnector;

  /** A pipe: `[for reading, for writing]`. Both block, as a child that inherits one expects. */
  pipe2(): [readFd: number, writeFd: number];
  /** Two connected Unix stream sockets, both blocking. */
  socketPair(): [number, number];
  /** The credentials of the process at the other end of a Unix socket (`SO_PEERCRED`). */
  peerCredentials(fd: number): PeerCredentials;
  /** The address of this end of a TCP or Unix socket; `{ path: "" }` for an unnamed Unix socket. */
  localAddress(fd: number): SocketAddress;
  /** The address of the other end. */
  peerAddress(fd: number): SocketAddress;
  fstatKind(fd: number): DescriptorKind;
  /** Whether programs that this process starts do not inherit the descriptor. */
  setCloseOnExec(fd: number, closeOnExec: boolean): void;
  /** Make reads and writes fail with EAGAIN instead of waiting. Holds for every copy of the descriptor, in all processes. */
  setNonBlocking(fd: number, nonBlocking: boolean): void;
  /** Ask for socket buffers of this many bytes (`SO_SNDBUF`, `SO_RCVBUF`); returns what the kernel gives. */
  setSendBuffer(fd: number, bytes: number): number;
  setReceiveBuffer(fd: number, bytes: number): number;
  /** A copy of `fd` with a number of at least 3. */
  dup(fd: number): number;
  /** Make `to` a copy of `from`, replacing what it was. Standard descriptors (0, 1, 2) remain inheritable. */
  dup2(from: number, to: number): void;
  closeFd(fd: number): void;
  /**
   * Lock the file at `path` for this open descriptor alone (`flock(2)`), creating it with mode 0600. Returns the
   * descriptor that holds the lock, or undefined when another holds it. To give it up: unlink `path` first if it is to
   * go, then `closeFd`. It also ends with the process.
   */
  lockFile(path: string): number | undefined;

  /** A directory's descriptor: good for `fstat` and for the functions below, which find files by their names in it. */
  openDirectory(path: string): number;
  /**
   * Open a file of a directory without following a link, or waiting for a FIFO's other end (fifo(7): `ENXIO` for writing where
   * nobody reads). The descriptor does not block. "look" opens what is there, a link too, for `fstat` alone.
   */
  openAt(directory: number, name: string, access: "read" | "write" | "both" | "look"): number;
  /** Make a FIFO, whose mode is `mode` less the umask. `EEXIST` when the name is taken. */
  makeFifoAt(directory: number, name: string, mode: number): void;
  unlinkAt(directory: number, name: string): void;
}

/** What the addon exports: its face, and what only this module calls. */
interface Binding extends Native {
  /** Write what is unsent without waiting and remove socket files, since the process or worker is about to end. */
  exiting(): void;
}

function load(): { binding: Binding } | { reason: string } {
  if (process.env["SLUICE_NATIVE"] === "0") return { reason: "disabled by SLUICE_NATIVE=0" };
  let root: string | undefined;
  try {
    // In a bundle of CommonJS there is no `import.meta.url`.
    root = fileURLToPath(new URL("..", import.meta.url));
    const require = createRequire(import.meta.url);
    return { binding: (require("node-gyp-build") as (root: string) => Binding)(root) };
  } catch (error) {
    const cause = error instanceof Error ? error.message.split("\n")[0] : String(error);
    if ((error as NodeJS.ErrnoException | undefined)?.code === "ERR_DLOPEN_DISABLED") {
      return {
        reason:
          `this process may not load addons (${cause}); ` +
          "start it without --no-addons and, where it has --permission, with --allow-addons",
      };
    }
    const isBundled = root === undefined || !existsSync(join(root, "binding.gyp"));
    return {
      reason:
        `@sluice/native has no build for ${process.platform}-${process.arch} that loads here (${cause}); ` +
        (isBundled
          ? "keep it out of the bundle (with esbuild: --external:@sluice/native) and install it beside that"
          : `on Linux with a C++ compiler, "npm run build" in ${root} makes one`),
    };
  }
}

const loaded = load();

/** The addon; undefined when there is none for this platform, or when SLUICE_NATIVE=0 is set. */
export const native: Native | undefined = "binding" in loaded ? loaded.binding : undefined;

/** Why `native` is undefined, and the remedy; empty when it is there. */
export const nativeUnavailable: string = "reason" in loaded ? loaded.reason : "";

if ("binding" in loaded) {
  const { binding } = loaded;
  // Node does not run an addon's clean-up hooks at process.exit() in the main thread, but does emit this event.
  process.on("exit", () => binding.exiting());
}
