/** Two copies of the core in one program: of two versions, or one of them in a bundle. */
import { expect } from "chai";
import type * as core from "@sluice/core";
import { Metadata, RpcError, Status } from "@sluice/core";
import { connectPair, part, rejection } from "../session/fixture.js";

/** Another copy of a module of the core. */
async function copyOf(module: string): Promise<typeof core> {
  return (await import(`${import.meta.resolve(`#core/${module}.js`)}?copy`)) as typeof core;
}

const other = { ...(await copyOf("error")), ...(await copyOf("metadata")) };

class OwnError extends RpcError {}
class OtherError extends other.RpcError {}

describe("another copy's RpcError", () => {
  it("is one, and a subclass has its own only", () => {
    expect(other.RpcError).not.to.equal(RpcError);
    const [own, foreign, ownSub, foreignSub] = [RpcError, other.RpcError, OwnError, OtherError].map(
      (type) => new type(Status.NOT_FOUND, "gone"),
    );
    for (const error of [own, foreign, ownSub, foreignSub]) {
      expect(error).to.be.instanceOf(RpcError).and.instanceOf(other.RpcError);
      expect(RpcError.from(error)).to.equal(error);
      expect(error instanceof OwnError).to.equal(error === ownSub);
      expect(error instanceof OtherError).to.equal(error === foreignSub);
    }
    for (const none of [new Error("gone"), { code: Status.NOT_FOUND }, "gone", undefined, null]) {
      expect(none instanceof RpcError, String(none)).to.equal(false);
    }
  });

  it("that a handler throws reaches the caller with its code, details and metadata", async () => {
    const details = [{ typeUrl: "type.googleapis.com/a.B", value: Uint8Array.of(1) }];
    const metadata = new other.Metadata({ why: "it was sold" });
    const { simulation, calls } = await connectPair({
      server: {
        implementation: {
          unary: () => Promise.reject(new other.RpcError(Status.NOT_FOUND, "gone", { details, metadata })),
        },
      },
    });
    const failed = rejection(calls.unary(part(0)));
    await simulation.run();
    const error = await failed;
    expect(error).to.include({ code: Status.NOT_FOUND, message: "gone" });
    expect((error as RpcError).details).to.deep.equal(details);
    expect([...(error as RpcError).metadata!]).to.deep.equal([...new Metadata(metadata)]);
  });
});
