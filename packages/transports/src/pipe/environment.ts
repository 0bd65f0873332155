import { RpcError, Status } from "@sluice/core";
import { pipeIdentity } from "../platform/pipe-identity.js";

/**
 * Names the pipes to a child: `READ,WRITE`, its descriptors' numbers, each followed by `:IDENTITY` where the parent knows it. The
 * identity keeps a grandchild, which inherits the variable but not the pipes, from taking whatever has these numbers there.
 */
const VARIABLE = "SLUICE_PIPE";

export interface InheritedPipes {
  readonly readFd: number;
  readonly writeFd: number;
}

/** The environment variable for a child that reads from `readFd` and writes to `writeFd`. */
export function describePipes(
  { readFd, writeFd }: InheritedPipes,
  identity: readonly [string, string] | undefined,
): Record<string, string> {
  const [read, write] = identity?.map((id) => `:${id}`) ?? ["", ""];
  return { [VARIABLE]: `${readFd}${read},${writeFd}${write}` };
}

/**
 * The pipes that the parent left for this process, which takes them while `doing` ("connect to", "listen at"). Deletes the variable, so
 * no process started from here sees it.
 */
export function takePipes(doing: string): InheritedPipes {
  const value = process.env[VARIABLE];
  if (value === undefined) {
    throw refuse(
      doing,
      "this process was not started by Sluice's spawn(), or the pipe was connected to or listened at before",
    );
  }
  delete process.env[VARIABLE];
  const match = /^(\d+)(?::([\d-]+))?,(\d+)(?::([\d-]+))?$/.exec(value);
  if (match === null)
    throw refuse(doing, `the environment variable ${VARIABLE} is malformed: ${JSON.stringify(value)}`);
  return { readFd: check(doing, match[1]!, match[2]), writeFd: check(doing, match[3]!, match[4]) };
}

function check(doing: string, number: string, expected: string | undefined): number {
  const fd = Number(number);
  let found: string | undefined;
  try {
    found = pipeIdentity(fd);
  } catch {
    // Not open; the message below says so as well as it can be said.
  }
  if (found === undefined || (expected !== undefined && found !== expected)) {
    throw refuse(
      doing,
      `descriptor ${fd} is not the pipe that the environment variable ${VARIABLE} names: it reaches only the process ` +
        "that spawn() started, not those that this process starts in turn",
    );
  }
  return fd;
}

function refuse(doing: string, why: string): RpcError {
  return new RpcError(Status.FAILED_PRECONDITION, `cannot ${doing} pipe: ${why}`);
}
