export * from "./status.js";
export * from "./error.js";
export * from "./metadata.js";
export * from "./clock.js";
export * from "./transport.js";
export type * from "./definition.js";
export type * from "./client.js";
export type * from "./server.js";
export type * from "./channel.js";
