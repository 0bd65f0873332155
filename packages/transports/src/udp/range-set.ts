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
  find(value: number): number {
    const ends = this.#ends;
    // What is asked for is behind all of them most of the time.
    let high = ends.length;
    if (high === 0 || ends[high - 1]! <= value) return high;
    let low = 0;
    high--;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (ends[middle]! > value) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  has(value: number): boolean {
    const index = this.find(value);
    return index < this.count && this.#starts[index]! <= value;
  }

  /** Whether `[start, end)` overlaps a range or is next to one: adding it makes no further range. */
  touches(start: number, end: number): boolean {
    const index = this.find(start - 1);
    return index < this.count && this.#starts[index]! <= end;
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
    const first = this.find(start - 1);
    let next = first;
    while (next < ends.length && starts[next]! <= end) next++;
    if (first === next) {
      starts.splice(first, 0, start);
      ends.splice(first, 0, end);
      return;
    }
    starts[first] = Math.min(start, starts[first]!);
    ends[first] = Math.max(end, ends[next - 1]!);
    if (next - first > 1) {
      starts.splice(first + 1, next - first - 1);
      ends.splice(first + 1, next - first - 1);
    }
  }

  remove(start: number, end: number): void {
    if (start >= end) return;
    const starts = this.#starts;
    const ends = this.#ends;
    for (let index = this.find(start); index < ends.length && starts[index]! < end;) {
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
