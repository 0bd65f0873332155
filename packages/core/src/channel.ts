import type { Client, Implementation, ServiceDefinition } from "./definition.js";
import type { Peer } from "./transport.js";

export type ChannelState = "idle" | "connecting" | "ready" | "transient-failure" | "shutdown";

export interface Channel {
  readonly state: ChannelState;
  readonly peer: Peer | undefined;
  client<S extends ServiceDefinition>(definition: S): Client<S>;
  add<S extends ServiceDefinition>(definition: S, implementation: Implementation<S>): this;
  close(options?: { timeoutMs?: number }): Promise<void>;
}
