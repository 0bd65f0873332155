import type { Connection, TransportOptions } from "@sluice/core";
import { pollOption, signalOption } from "../options.js";
import type { Platform } from "../platform/index.js";
import { isLoopback, parseTcpAddress } from "../tcp/address.js";
import { connectInTurn } from "../tcp/connect.js";
import { ClientEndpoint } from "./client.js";
import { loop } from "./loop.js";
import { parametersOption, secretOption, securityOption } from "./options.js";

export async function connect(
  platform: Platform,
  address: string,
  options: TransportOptions,
): Promise<Connection> {
  const at = parseTcpAddress(address, "udp");
  const pollUs = pollOption(options);
  const signal = signalOption(options);
  const secret = secretOption(options);
  const parameters = parametersOption(options);
  const checkSecurity = securityOption(options);
  return connectInTurn(address, at, signal, async (ip) => {
    checkSecurity(ip, "connect to", address);
    const socket = await platform.datagrams.connect({ address: ip, port: at.port }, pollUs);
    const endpoint = new ClientEndpoint(loop, socket, {
      address,
      remoteAddress: ip,
      remotePort: at.port,
      secret,
      createCipher: platform.createPacketCipher,
      parameters: parameters(ip, socket.heldBytes),
      loopback: isLoopback(ip),
    });
    const onAbort = (): void => endpoint.abandon(signal!.reason as Error);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      const connecting = endpoint.connect();
      if (signal?.aborted) onAbort();
      return await connecting;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  });
}
