import { Channel, type ChannelOptions } from "./channel.js";
import type { Clock } from "./clock.js";
import { transportOf } from "./transports.js";
import type { Transport, TransportOptions } from "./transport.js";

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
    ...rest
  } = options;
  const channel = new Channel({
    address,
    options,
    ...(clock === undefined ? {} : { clock }),
    dial: (dialSignal) => transport.connect(address, { ...rest, signal: dialSignal }),
  });
  await channel.open(signal);
  return channel;
}
