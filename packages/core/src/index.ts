export * from "./status.js";
export * from "./error.js";
export * from "./metadata.js";
export * from "./clock.js";
export * from "./transport.js";
export type * from "./definition.js";
export type { CallOptions } from "./client-call.js";
export type { ServerContext } from "./server-call.js";
export type { MethodInfo } from "./method.js";
export type {
  InterceptedCall,
  InterceptedClientCall,
  InterceptedServerCall,
  Interceptor,
} from "./interceptor.js";
export type { Limits } from "./limits.js";
export type { Keepalive } from "./session.js";
export { Channel } from "./channel.js";
export type {
  Backoff,
  ChannelEvents,
  ChannelOptions,
  ChannelState,
  CloseOptions,
  EndpointOptions,
} from "./channel.js";
export { Server, type ServerEvents } from "./server.js";
export type { ServiceOptions } from "./registry.js";
export { connectOver, connectWith, type ConnectOptions } from "./connect.js";
export {
  SyncChannel,
  type SyncCallOptions,
  type SyncChannelOptions,
  type SyncClient,
} from "./sync-channel.js";
export { transportOf } from "./transports.js";
export { WIRE_VERSION } from "./wire.js";
