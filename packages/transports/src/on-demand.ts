import type { Transport } from "@sluice/core";

/** A transport whose code is loaded when it is first used: most programs use one or two, and start sooner for it. */
export function onDemand(scheme: string, load: () => Promise<Transport>): Transport {
  let loading: Promise<Transport> | undefined;
  const loaded = () => (loading ??= load());
  return {
    scheme,
    connect: async (address, options) => (await loaded()).connect(address, options),
    listen: async (address, accept, options, report) =>
      (await loaded()).listen(address, accept, options, report),
  };
}
