import { RpcError, Status, statusName } from "@sluice/core";
import type { Part } from "../simulation/service.js";
import { dataOf, sameBytes } from "../simulation/service.js";
import type { Plan } from "./plan.js";

/** What both ends saw of one call, checked as it happens and once it is over. */
export class CallRecord {
  readonly plan: Plan;
  startedAt = 0;
  begun = false;
  /** Requests that the source gave out, and how the source ended. */
  requestsGiven = 0;
  sourceEnded = false;
  sourceFailed = false;
  cancelled = false;
  brokeOff = false;
  handlers = 0;
  handlersEnded = 0;
  requestsTaken = 0;
  sawEndOfRequests = false;
  responsesGiven = 0;
  handlerReturned = false;
  handlerThrew = false;
  responsesTaken = 0;
  outcome: "OK" | RpcError | undefined = undefined;
  settledAt = 0;
  headers = 0;
  trailers = 0;

  constructor(plan: Plan) {
    this.plan = plan;
  }

  get settled(): boolean {
    return this.outcome !== undefined || this.brokeOff;
  }

  takeRequest(message: Part): void {
    const at = this.requestsTaken++;
    this.#check(message, at, this.plan.requests, 0, "request");
    if (at >= this.requestsGiven)
      throw new Error(`request ${at} of ${this.name} arrived before it was given`);
  }

  takeResponse(message: Part): void {
    const at = this.responsesTaken++;
    this.#check(message, at, this.plan.responses, 1_000_000, "response");
    if (at >= this.responsesGiven)
      throw new Error(`response ${at} of ${this.name} arrived before it was given`);
  }

  #check(message: Part, at: number, sizes: readonly number[], base: number, what: string): void {
    if (message.index !== at)
      throw new Error(`${what} ${at} of ${this.name} is that of index ${message.index}`);
    const expected = dataOf(this.plan.number, base + at, sizes[at] ?? -1);
    if (!sameBytes(message.data, expected)) {
      throw new Error(
        `${what} ${at} of ${this.name} is corrupt (${message.data.length} bytes of ${expected.length})`,
      );
    }
  }

  settle(outcome: "OK" | RpcError, now: number): void {
    if (this.settled) throw new Error(`${this.name} settled twice`);
    this.outcome = outcome;
    this.settledAt = now;
  }

  /** Whether the outcome is one that what happened allows. Throws if not. */
  judge(world: { lost: boolean; maxMessageBytes: number; records: ReadonlyMap<number, CallRecord> }): void {
    const { plan, outcome } = this;
    if (this.handlers > 1) throw new Error(`${this.name} ran ${this.handlers} handlers`);
    if (outcome === undefined) return;
    if (outcome === "OK") {
      if (!this.handlerReturned) throw new Error(`${this.name} is OK, but its handler did not return`);
      if (this.responsesTaken !== plan.responses.length) {
        throw new Error(
          `${this.name} is OK with ${this.responsesTaken} responses of ${plan.responses.length}`,
        );
      }
      if (plan.readsFirst && plan.readsOnly === undefined && this.requestsTaken !== plan.requests.length) {
        throw new Error(
          `${this.name} is OK, but its handler took ${this.requestsTaken} of ${plan.requests.length}`,
        );
      }
      if (this.headers !== 1 || this.trailers !== 1) {
        throw new Error(
          `${this.name} reported headers ${this.headers} times and trailers ${this.trailers} times`,
        );
      }
      return;
    }
    if (!outcome.mayHaveRun && this.handlers > 0) {
      throw new Error(`${this.name} ran, but its error says that it did not: ${outcome}`);
    }
    const oversized = [...plan.requests, ...plan.responses].some((size) => size > world.maxMessageBytes - 16);
    const family: CallRecord[] = [this];
    for (let one = world.records.get(plan.parent ?? 0); one !== undefined;) {
      family.push(one);
      one = world.records.get(one.plan.parent ?? 0);
    }
    const [, ...ancestors] = family;
    const allowed: Partial<Record<Status, boolean>> = {
      [Status.CANCELLED]: this.cancelled || this.sourceFailed || ancestors.some((one) => one.isGivenUp),
      [Status.DEADLINE_EXCEEDED]: family.some((one) => one.expireAt <= this.settledAt),
      [Status.UNAVAILABLE]: world.lost,
      [Status.RESOURCE_EXHAUSTED]: oversized,
      [Status.FAILED_PRECONDITION]: world.lost,
      [Status.ABORTED]: this.handlerThrew,
    };
    if (allowed[outcome.code] !== true) {
      throw new Error(`${this.name} failed for no reason in the model: ${outcome}`, { cause: outcome });
    }
  }

  /** Whether the caller wants no more of it, which its handler is told, and those that the handler calls. */
  get isGivenUp(): boolean {
    return this.cancelled || this.brokeOff || this.sourceFailed || this.outcome instanceof RpcError;
  }

  get expireAt(): number {
    return this.startedAt + (this.plan.timeoutMs ?? Infinity);
  }

  /** For people. */
  get name(): string {
    const { plan, outcome } = this;
    const state = this.brokeOff
      ? "broken off"
      : outcome instanceof RpcError
        ? statusName(outcome.code)
        : outcome;
    return `call ${plan.number} (${plan.kind} from ${plan.caller}, ${state ?? "unsettled"})`;
  }

  /** What a person needs who looks at a call that hangs. */
  describe(): string {
    const { plan } = this;
    return (
      `${this.name}: requests ${this.requestsGiven} given, ${this.requestsTaken} taken of [${plan.requests.join(" ")}]` +
      `${this.sourceEnded ? " (ended)" : ""}; responses ${this.responsesGiven} given, ${this.responsesTaken} taken ` +
      `of [${plan.responses.join(" ")}]; handlers ${this.handlersEnded}/${this.handlers} (${plan.ending})` +
      `${this.cancelled ? "; cancelled" : ""}${plan.timeoutMs === undefined ? "" : `; ${plan.timeoutMs} ms`}`
    );
  }
}
