import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import { invalidAddress, splitAddress } from "../address.js";
import { systemError } from "../errors.js";

export interface TcpAddress {
  /** A name or an IP address, without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Takes `tcp://HOST:PORT` apart, or one of another scheme; an IPv6 address stands in brackets. */
export function parseTcpAddress(address: string, scheme = "tcp"): TcpAddress {
  const rest = splitAddress(address, scheme);
  const match = /^\/\/(?:\[([^\]]*)\]|([^:/[\]]*)):([0-9]+)$/.exec(rest);
  if (match === null) {
    throw invalidAddress(
      address,
      `write ${scheme}://HOST:PORT, and an IPv6 address in brackets: ${scheme}://[::1]:5000`,
    );
  }
  const [, bracketed, plain, digits] = match;
  if (bracketed !== undefined && isIP(bracketed) !== 6) {
    throw invalidAddress(address, `${JSON.stringify(bracketed)} in brackets is not an IPv6 address`);
  }
  const host = bracketed ?? plain!;
  if (host === "") throw invalidAddress(address, "the host is missing, such as 127.0.0.1 or localhost");
  const port = Number(digits);
  if (port > 65535) throw invalidAddress(address, `the port is over 65535`);
  return { host, port };
}

export function formatTcpAddress({ host, port }: TcpAddress, scheme = "tcp"): string {
  return isIP(host) === 6 ? `${scheme}://[${host}]:${port}` : `${scheme}://${host}:${port}`;
}

/** Every IP address of a host, in the resolver's order of preference; never empty. */
export async function resolveHost(host: string, doing: string, address: string): Promise<string[]> {
  if (isIP(host) !== 0) return [host];
  try {
    return (await lookup(host, { all: true, verbatim: true })).map((found) => found.address);
  } catch (error) {
    throw systemError(error, doing, address);
  }
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/** Whether an IP address can only be reached from this host. IPv4 addresses mapped into IPv6 count as what they are. */
export function isLoopback(ip: string): boolean {
  return LOOPBACK.check(ip, isIP(ip) === 6 ? "ipv6" : "ipv4");
}
