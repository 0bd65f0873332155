/** Something that is due at a time. */
export interface Due {
  /** When; may move away at any time, and nearer if `Deadlines.expect` is called then. */
  readonly deadline: number;
  /** The queue's own; -1 while it is in none. */
  queueIndex: number;
}

/**
 * Who is due next: a binary heap by what the deadlines were when they were last looked at. One that has moved away is found out when
 * its turn comes, so that postponing, which happens with every packet, costs nothing.
 */
export class Deadlines<T extends Due> {
  readonly #heap: T[] = [];
  readonly #times: number[] = [];

  /** When to look at the queue next. */
  get next(): number {
    return this.#times[0] ?? Infinity;
  }

  /** `due.deadline` is new, or nearer than it was. */
  expect(due: T): void {
    if (due.queueIndex < 0) {
      due.queueIndex = this.#heap.length;
      this.#heap.push(due);
      this.#times.push(due.deadline);
    } else if (this.#times[due.queueIndex]! <= due.deadline) return;
    this.#up(due, due.queueIndex, due.deadline);
  }

  remove(due: T): void {
    const index = due.queueIndex;
    if (index < 0) return;
    due.queueIndex = -1;
    const last = this.#heap.pop()!;
    const time = this.#times.pop()!;
    if (last === due) return;
    this.#down(last, index, time);
    this.#up(last, last.queueIndex, time);
  }

  /** One that is due at `now`; undefined if none is. Call it again after what is done about it. */
  take(now: number): T | undefined {
    for (let due = this.#heap[0]; due !== undefined && this.#times[0]! <= now; due = this.#heap[0]) {
      if (due.deadline <= now) return due;
      if (due.deadline === Infinity) this.remove(due);
      else this.#down(due, 0, due.deadline);
    }
    return undefined;
  }

  #up(due: T, index: number, time: number): void {
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (this.#times[parent]! <= time) break;
      this.#place(this.#heap[parent]!, index, this.#times[parent]!);
      index = parent;
    }
    this.#place(due, index, time);
  }

  #down(due: T, index: number, time: number): void {
    const count = this.#heap.length;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= count) break;
      if (child + 1 < count && this.#times[child + 1]! < this.#times[child]!) child++;
      if (this.#times[child]! >= time) break;
      this.#place(this.#heap[child]!, index, this.#times[child]!);
      index = child;
    }
    this.#place(due, index, time);
  }

  #place(due: T, index: number, time: number): void {
    this.#heap[index] = due;
    this.#times[index] = time;
    due.queueIndex = index;
  }
}
