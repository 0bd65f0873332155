import { Channel, type ChannelOptions } from "./channel.js";
import type { Clock } from "./clock.js";
import { transportOf } from "./transports.js";
import type { Connection, Transport, TransportOptions } from "./transport.js";

/** Options of `connect`: the channel's, and those of the address's transport. */
export type ConnectOptions = ChannelOptions & TransportOptions;

/**
 * Connect to `address`. Rejects if the first attempt fails, unless `waitForReady`; later losses reconnect with back-off.
 * The channel must be closed when it is not needed any more.
 */
export async function connectWith(
  transports: readonly Transport[],
  address: string,
  options: ConnectOptions = {},
  clock?: Clock,
): Promise<Channel> {
  const transport = transportOf(transports, address);
  const {
    signal,
    limits: _l,
    interceptors: _i,
    keepalive: _k,
    waitForReady: _w,
    backoff: _b,
    services,
    ...rest
  } = options;
  const dial = (dialSignal: AbortSignal): Promise<Connection> =>
    transport.connect(address, { ...rest, signal: dialSignal });
  const channel = new Channel({ address, options, dial, ...(clock === undefined ? {} : { clock }) });
  services?.(channel);
  await channel.open(signal);
  return channel;
}

/** A channel over a connection that this end has made otherwise, such as to a child process. Rejects as `connectWith`. */
export async function connectOver(connection: Connection, options: ChannelOptions = {}): Promise<Channel> {
  const dial = (): Promise<Connection> => Promise.resolve(connection);
  const channel = new Channel({ address: connection.peer.address, options, dial });
  options.services?.(channel);
  await channel.open(options.signal);
  return channel;
}
