/**
 * A set of integers as disjoint, ascending ranges `[start, end)`: packet numbers that were received, bytes of the stream that
 * were acknowledged, are lost, or came early. Nearly always there are none or one, which is what is fast here.
 */
export class RangeSet {
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];

  /** How many ranges there are. */
  get count(): number {
    return this.#starts.length;
  }

  /** Where the range number `index`, from the lowest, begins and ends. */
  start(index: number): number {
    return this.#starts[index]!;
  }

  end(index: number): number {
    return this.#ends[index]!;
  }

  /** The index of the first range that ends above `value`; `count` if there is none. */
  #find(value: number): number {
    const ends = this.#ends;
    // What is asked for is near the end most of the time.
    let index = ends.length;
    while (index > 0 && ends[index - 1]! > value) index--;
    return index;
  }

  has(value: number): boolean {
    const index = this.#find(value);
    return index < this.count && this.#starts[index]! <= value;
  }

  add(start: number, end: number): void {
    if (start >= end) return;
    const starts = this.#starts;
    const ends = this.#ends;
    const last = ends.length - 1;
    if (last >= 0 && ends[last] === start) {
      ends[last] = end;
      return;
    }
    // All from `first` up to, not including, `next` touch the new range.
    let next = ends.length;
    while (next > 0 && starts[next - 1]! > end) next--;
    let first = next;
    while (first > 0 && ends[first - 1]! >= start) first--;
    if (first < next) {
      start = Math.min(start, starts[first]!);
      end = Math.max(end, ends[next - 1]!);
    }
    starts.splice(first, next - first, start);
    ends.splice(first, next - first, end);
  }

  remove(start: number, end: number): void {
    if (start >= end) return;
    const starts = this.#starts;
    const ends = this.#ends;
    for (let index = this.#find(start); index < ends.length && starts[index]! < end;) {
      const from = starts[index]!;
      const to = ends[index]!;
      if (from >= start && to <= end) {
        starts.splice(index, 1);
        ends.splice(index, 1);
      } else if (from < start && to > end) {
        ends[index] = start;
        starts.splice(index + 1, 0, end);
        ends.splice(index + 1, 0, to);
        return;
      } else if (from < start) {
        ends[index++] = start;
      } else {
        starts[index++] = end;
      }
    }
  }

  /** Forgets the lowest range. */
  shift(): void {
    this.#starts.shift();
    this.#ends.shift();
  }

  clear(): void {
    this.#starts.length = 0;
    this.#ends.length = 0;
  }
}
