import { RpcError, Status } from "@sluice/core";

/** System error codes, or those of one system call, that say something precise, which is put into a sentence after the address. */
const MEANINGS: Record<string, readonly [Status, string]> = {
  EACCES: [Status.PERMISSION_DENIED, "permission denied"],
  EPERM: [Status.PERMISSION_DENIED, "permission denied"],
  EADDRINUSE: [Status.ALREADY_EXISTS, "the address is in use by another listener"],
  EADDRNOTAVAIL: [Status.INVALID_ARGUMENT, "no network interface of this host has the address"],
  EAFNOSUPPORT: [Status.INVALID_ARGUMENT, "this host does not support the address family"],
  ENAMETOOLONG: [Status.INVALID_ARGUMENT, "the path is too long"],
  ENOTDIR: [Status.INVALID_ARGUMENT, "a part of the path is not a directory"],
  ELOOP: [Status.INVALID_ARGUMENT, "the path is a symbolic link, or leads through too many"],
  EMFILE: [Status.RESOURCE_EXHAUSTED, "this process has no file descriptor left (see ulimit -n)"],
  ENFILE: [Status.RESOURCE_EXHAUSTED, "the system has no file descriptor left"],
  ECONNREFUSED: [Status.UNAVAILABLE, "nobody listens there"],
  ENXIO: [Status.UNAVAILABLE, "nobody listens there"],
  "connect EAGAIN": [Status.UNAVAILABLE, "the listener's queue of waiting connections is full"],
  "pthread_create EAGAIN": [
    Status.RESOURCE_EXHAUSTED,
    "no thread can be started to receive messages: there are as many as this user or this group of processes may have " +
      "(ulimit -u; pids.max of the cgroup)",
  ],
  ETIMEDOUT: [Status.UNAVAILABLE, "no answer"],
  EHOSTUNREACH: [Status.UNAVAILABLE, "the host cannot be reached"],
  ENETUNREACH: [Status.UNAVAILABLE, "the network cannot be reached"],
  ENOTFOUND: [Status.UNAVAILABLE, "the name cannot be resolved"],
  EAI_AGAIN: [Status.UNAVAILABLE, "the name cannot be resolved at the moment"],
};

export function errorCode(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === "string" ? code : "";
}

/** The `RpcError` for a system error met while `doing` ("connect to", "listen at") something at `address`. */
export function systemError(error: unknown, doing: string, address: string): RpcError {
  if (error instanceof RpcError) return error;
  const code = errorCode(error);
  const { syscall } = error as { readonly syscall?: unknown };
  const [status, meaning] = MEANINGS[`${String(syscall)} ${code}`] ??
    MEANINGS[code] ?? [Status.UNAVAILABLE, (error as Error).message];
  return new RpcError(status, `cannot ${doing} ${address}: ${meaning}${code && ` (${code})`}`, {
    cause: error,
  });
}
