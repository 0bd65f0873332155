import { SocketAddress, isIPv4 } from "node:net";
import { isLoopback } from "../tcp/address.js";
import { ROUTE_WORDS, type Route } from "./socket.js";

/** The route to a numeric IP address. */
export function routeTo(ip: string, port: number): Route {
  const route = new Int32Array(ROUTE_WORDS);
  const bytes = new Uint8Array(route.buffer);
  route[0] = (isIPv4(ip) ? 4 : 6) | (port << 16);
  if (isIPv4(ip)) {
    bytes.set(ip.split(".").map(Number), 4);
    return route;
  }
  const [address, scope] = ip.split("%");
  const [head, tail] = address!.split("::").map(groupsOf);
  const groups =
    tail === undefined
      ? head!
      : [...head!, ...Array<number>(8 - head!.length - tail.length).fill(0), ...tail];
  for (const [index, group] of groups.entries()) {
    bytes[4 + 2 * index] = group >>> 8;
    bytes[5 + 2 * index] = group;
  }
  route[5] = Number(scope ?? 0);
  return route;
}

/** The 16-bit groups of part of an IPv6 address, whose last may be written as an IPv4 address. */
function groupsOf(part: string): number[] {
  return part.split(":").flatMap((group) => {
    if (group === "") return [];
    if (!isIPv4(group)) return [Number.parseInt(group, 16)];
    const [a, b, c, d] = group.split(".").map(Number) as [number, number, number, number];
    return [(a << 8) | b, (c << 8) | d];
  });
}

export function portOf(route: Route): number {
  return route[0]! >>> 16;
}

/** The numeric IP address, as the kernel writes it. */
export function formatIp(route: Route): string {
  const bytes = new Uint8Array(route.buffer, route.byteOffset + 4, 16);
  if ((route[0]! & 0xffff) === 4) return bytes.subarray(0, 4).join(".");
  const groups = Array.from({ length: 8 }, (_, index) =>
    ((bytes[2 * index]! << 8) | bytes[2 * index + 1]!).toString(16),
  );
  return new SocketAddress({ address: groups.join(":"), family: "ipv6" }).address;
}

export function isLoopbackRoute(route: Route): boolean {
  return isLoopback(formatIp(route));
}
