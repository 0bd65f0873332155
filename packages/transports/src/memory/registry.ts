import type { Connection } from "@sluice/core";

/** Who listens in this thread, by name. */
export const listeners = new Map<string, (connection: Connection) => void>();
