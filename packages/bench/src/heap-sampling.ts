/** In the processes that are measured: V8's sampling of what is allocated on the heap. */
import { Session } from "node:inspector/promises";
import type { CallFrame } from "./call-frames.js";

/** What a client or a server process is asked for: to begin, or to end and answer with a `HeapNode`. */
export interface HeapRequest {
  readonly heap: "sample" | "report";
}

/** A function that allocated, or called one that did. */
export interface HeapNode {
  readonly callFrame: CallFrame;
  /** Bytes that it allocated by itself, estimated from the samples. */
  readonly selfSize: number;
  readonly children: readonly HeapNode[];
}

/** Bytes from one sample to the next, on average. */
const INTERVAL_BYTES = 4096;

const session = new Session();

/** Resolves to what called all the rest. */
export async function sampleHeap({ heap }: HeapRequest): Promise<HeapNode | undefined> {
  if (heap === "sample") {
    session.connect();
    await session.post("HeapProfiler.startSampling", {
      samplingInterval: INTERVAL_BYTES,
      // Or there would be only what is still in use in the end.
      includeObjectsCollectedByMajorGC: true,
      includeObjectsCollectedByMinorGC: true,
    });
    return undefined;
  }
  const { profile } = await session.post("HeapProfiler.stopSampling");
  session.disconnect();
  return profile.head;
}
