/**
 * When to hasten V8's collections of young objects, for the sake of large messages.
 *
 * V8 looks for dead memory of messages when its space for young objects is full, or after 32 MiB of such memory. In a process that has
 * had a full collection while it did little, and whose heap is small, that is later than it begins to mark the whole heap: it then does
 * that again and again, 10 ms for every 16 to 40 MiB of messages. Where the space for young objects is filled faster, by garbage, the
 * dead are found before: measured on Node 20, calls of 64 KiB ran up to twice as fast. Elsewhere the garbage costs up to a quarter. So it is
 * tried where full collections come often, and left where they then come far more often still, or not often at all: they may be seldom
 * without it by now.
 */
import { CollectionWatch } from "@sluice/core/collection-watch";

/** Full collections with more bytes of large messages between them cost too little to do anything about. */
const SELDOM_BYTES = 48 * 1024 * 1024;
/** With fewer bytes since the last, a full collection had another cause. */
const LEAST_BYTES = 1024 * 1024;
/** A period ends with so many full collections, or after so many bytes. */
const PERIOD_COLLECTIONS = 4;
const PERIOD_BYTES = 4096 * 1024 * 1024;
/** By how much each period makes what was not tried of late more promising. */
const HOPE = 1.1;
/**
 * Hastening is left where without it there would be so many times as many bytes to each full collection. Not sooner: V8's limits follow
 * slowly, so that a period of it may look no better at first, and what it costs is little beside what it may save.
 */
const WORSE = 2;

/** Decides, of the large messages of one thread, whether their collection is to be hastened. */
export class CollectionPacing {
  #hastening = false;
  #bytesSinceCollection = 0;
  /** Of this period: what was allocated up to its last full collection. */
  #periodBytes = 0;
  #periodCollections = 0;
  /** How many bytes there were to each full collection in the last period, without hastening and with it. */
  #bytesUnhastened = Infinity;
  #bytesHastened = Infinity;

  /** A large message of `bytes` was allocated. Returns whether to hasten the next collection. */
  allocated(bytes: number): boolean {
    this.#bytesSinceCollection += bytes;
    if (this.#periodBytes + this.#bytesSinceCollection >= PERIOD_BYTES) this.#endPeriod();
    return this.#hastening;
  }

  /** There was a full collection. */
  collected(): void {
    const bytes = this.#bytesSinceCollection;
    this.#bytesSinceCollection = 0;
    this.#periodBytes += bytes;
    if (bytes >= LEAST_BYTES && ++this.#periodCollections === PERIOD_COLLECTIONS) this.#endPeriod();
  }

  #endPeriod(): void {
    const bytes = (this.#periodBytes + this.#bytesSinceCollection) / this.#periodCollections;
    this.#bytesSinceCollection = this.#periodBytes = this.#periodCollections = 0;
    if (this.#hastening) {
      this.#bytesHastened = bytes;
      this.#bytesUnhastened *= HOPE;
      this.#hastening = bytes < SELDOM_BYTES && WORSE * bytes > this.#bytesUnhastened;
    } else {
      this.#bytesUnhastened = bytes;
      this.#bytesHastened *= HOPE;
      this.#hastening = bytes < SELDOM_BYTES && bytes < WORSE * this.#bytesHastened;
    }
  }
}

/** For each byte of a message, in words of 8 bytes: as much garbage, of which the space for young objects has 8 or 16 MiB. */
const WORDS_PER_BYTE = 1 / 8;
/** Of one array, so that V8 takes it for no large object. */
const MAX_WORDS = 4096;

/** The last garbage: what nobody could see would not be allocated. */
export let garbage: unknown = undefined;

/** Since V8 14 a `CollectionWatch` cannot tell full collections from those of young objects: they are left alone. */
const CAN_TELL = Number.parseInt(process.versions.v8) < 14;

const pacing = new CollectionPacing();
const collections = new CollectionWatch(() => pacing.collected());

/**
 * To be called for each large message of `bytes` that is allocated. Takes 2 us for 64 KiB where collections are hastened. In a thread that
 * only makes synchronous calls nothing changes: it learns of collections in its event loop.
 */
export function paceCollections(bytes: number): void {
  if (!CAN_TELL) return;
  collections.listen();
  if (!pacing.allocated(bytes)) return;
  for (let words = bytes * WORDS_PER_BYTE; words > 0; words -= MAX_WORDS) {
    garbage = new Array(Math.ceil(Math.min(words, MAX_WORDS)));
  }
}
