import { RpcError } from "./error.js";
import { Status } from "./status.js";

/** A metadata value: printable ASCII, or bytes for names that end in `-bin`. */
export type MetadataValue = string | Uint8Array;

/** Names and values are at most this long on the wire; the metadata limit of a session is usually far lower. */
const MAX_NAME_BYTES = 0xff;
export const MAX_VALUE_BYTES = 0xffff;

/** Which bytes a name may have: `0-9 a-z _ - .` */
export const NAME_BYTE = Uint8Array.from({ length: 256 }, (_, byte) =>
  /[0-9a-z_.-]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

/** Whether the name `memory[start..end)` ends in `-bin`. */
export function isBinaryName(memory: Uint8Array, start: number, end: number): boolean {
  return (
    end - start >= 4 &&
    memory[end - 1] === 0x6e &&
    memory[end - 2] === 0x69 &&
    memory[end - 3] === 0x62 &&
    memory[end - 4] === 0x2d
  );
}

/** `name` in lower case. Throws INVALID_ARGUMENT if it is none. */
export function checkName(name: string): string {
  const key = name.toLowerCase();
  if (!/^[0-9a-z_.-]+$/.test(key) || key.length > MAX_NAME_BYTES) {
    throw invalid(
      `metadata name ${JSON.stringify(name)} is not allowed: use 1 to ${MAX_NAME_BYTES} of 0-9 a-z _ - .`,
    );
  }
  return key;
}

/** The entry, its name in lower case. Throws INVALID_ARGUMENT for a name or value that gRPC forbids. */
export function checkEntry(name: string, value: MetadataValue): [string, MetadataValue] {
  const key = checkName(name);
  if (key.endsWith("-bin")) {
    if (!(value instanceof Uint8Array)) {
      throw invalid(`metadata "${key}" needs a Uint8Array, because its name ends in -bin`);
    }
  } else if (typeof value !== "string") {
    throw invalid(`metadata "${key}" needs a string; name it "${key}-bin" to send bytes`);
  } else if (!/^[\x20-\x7e]*$/.test(value)) {
    throw invalid(
      `metadata "${key}" has a character that is not printable ASCII; name it "${key}-bin" to send bytes`,
    );
  }
  if (value.length > MAX_VALUE_BYTES) {
    throw invalid(`metadata "${key}" is ${value.length} bytes; a value is at most ${MAX_VALUE_BYTES}`);
  }
  return [key, value];
}

function invalid(message: string): RpcError {
  return new RpcError(Status.INVALID_ARGUMENT, message);
}
