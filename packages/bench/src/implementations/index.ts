import type { Implementation } from "../implementation.js";

/** A module each, loaded only in the processes that run it. */
const modules: Readonly<Record<string, () => Promise<Implementation>>> = {
  sluice: async () => (await import("./sluice.js")).sluice,
  "c++": async () => (await import("./cpp.js")).cpp,
  "grpc-js": async () => (await import("./grpc-js.js")).grpcJs,
  "node:net": async () => (await import("./node-net.js")).nodeNet,
};

export const implementationNames: readonly string[] = Object.keys(modules);

export async function loadImplementation(name: string): Promise<Implementation> {
  const load = modules[name];
  if (load === undefined) {
    throw new Error(`no implementation is called "${name}"; there are: ${implementationNames.join(", ")}`);
  }
  return load();
}
