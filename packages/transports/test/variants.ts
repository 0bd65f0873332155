import { nativeUnavailable } from "@sluice/native";
import { nativeTransports, nodeTransports, type PlatformTransports } from "@sluice/transports";

export interface Variant {
  readonly name: "native" | "node";
  readonly transports: PlatformTransports;
}

/** Both forms of the transports, or the one there is; what only one can do has tests of its own. */
export const variants: readonly Variant[] = [
  ...(nativeTransports ? [{ name: "native", transports: nativeTransports } as const] : []),
  { name: "node", transports: nodeTransports },
];

/** Registers tests for each form of the transports. */
export function describeVariants(name: string, tests: (variant: Variant) => void): void {
  for (const variant of variants) describe(`${name} (${variant.name})`, () => tests(variant));
  if (!nativeTransports) describe.skip(`${name} (native): ${nativeUnavailable}`, () => {});
}

/** Registers tests of transports that are there with the addon alone. Mocha would run the body of what is skipped, too. */
export function describeNative(name: string, tests: (transports: PlatformTransports) => void): void {
  const transports = nativeTransports;
  if (transports) describe(name, () => tests(transports));
  else describe.skip(`${name}: ${nativeUnavailable}`, () => {});
}
