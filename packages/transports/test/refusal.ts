import { expect } from "chai";
import { RpcError, statusName, type Status } from "@sluice/core";

/** The `RpcError` of this status that a promise rejects with. */
export async function refusal(promise: Promise<unknown>, status: Status): Promise<RpcError> {
  const outcome: unknown = await promise.then(
    () => new Error("it was not refused"),
    (error: unknown) => error,
  );
  if (!(outcome instanceof RpcError)) throw outcome;
  expect(outcome.codeName, outcome.message).to.equal(statusName(status));
  return outcome;
}
