import type { Connection, Listener, Peer, ReportError, TransportOptions } from "@sluice/core";
import type { Native, Segment, SegmentKind } from "@sluice/native";
import { pollOption, signalOption } from "../options.js";
import type { Platform, StreamSocket } from "../platform/index.js";
import type { UnixAddress } from "../unix/address.js";
import { connectSocket } from "../unix/connect.js";
import { listenSocket } from "../unix/listen.js";
import { RingConnection } from "./connection.js";
import { receiveSegment, sendRefusal, sendSegment } from "./handshake.js";
import { blockOption, capacityOption } from "./options.js";

/** Where the segments of a listener come from; `directory` is where files are made. */
export interface SegmentSource {
  readonly kind: SegmentKind;
  readonly directory?: string;
}

/** Connects to the control socket `target` of `address`, and to the rings behind it. */
export async function connectRing(
  native: Native,
  platform: Platform,
  address: string,
  target: UnixAddress,
  options: TransportOptions,
): Promise<Connection> {
  const pollUs = pollOption(options);
  const { socket, peer } = await connectSocket(platform, address, target, options);
  const { rings, fd } = await receiveSegment(native, socket.fd!, address, signalOption(options));
  return new RingConnection(
    rings,
    1,
    (handler) => new native.RingChannel(fd, rings.segment, 1, handler, pollUs),
    peer,
  );
}

/** Listens at the control socket `target` of `address`, and makes a segment for each connection. */
export async function listenRing(
  native: Native,
  platform: Platform,
  address: string,
  target: UnixAddress,
  source: SegmentSource,
  accept: (connection: Connection) => void,
  options: TransportOptions,
  report?: ReportError,
): Promise<Listener> {
  const pollUs = pollOption(options);
  const capacity = capacityOption(options);
  const blockBytes = blockOption(options, source.kind);
  const onSocket = (socket: StreamSocket, peer: Peer): void => {
    const fd = socket.fd!;
    let segment: Segment;
    try {
      segment = new native.Segment(source.kind, capacity, blockBytes, source.directory);
    } catch (error) {
      return sendRefusal(native, fd, (error as Error).message);
    }
    const rings = { segment, capacity, blockBytes };
    let control: number;
    try {
      control = sendSegment(native, fd, source.kind, rings);
    } catch {
      // It went away again, or sees now that the connection is closed.
      return segment.close();
    }
    segment.closeHandle();
    accept(
      new RingConnection(
        rings,
        0,
        (handler) => new native.RingChannel(control, segment, 0, handler, pollUs),
        peer,
      ),
    );
  };
  return listenSocket(platform, address, target, onSocket, options, report);
}
