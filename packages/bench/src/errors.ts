/**
 * What an error says, and what its causes do. Without stacks: an error here is about what was asked for or what is installed,
 * and one from a measured process brings its stack along in its message.
 */
export function withCauses(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${withCauses(error.cause)}`;
}
