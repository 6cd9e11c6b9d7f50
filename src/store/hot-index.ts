import type { LogCursor } from '../core/log-reader.ts';
import type { HotPlace } from './hot.ts';

const STRIDE = 9;

/**
 * A port's hot rows as a reader knows them, oldest first, in log order: numbers only, since a rack
 * of busy ports has hundreds of thousands.
 */
export class HotIndex {
  #values: number[] = [];
  /** Rows before this one are gone. */
  #start = 0;

  get length(): number {
    return this.#values.length / STRIDE - this.#start;
  }

  push(row: HotPlace): void {
    const { id, epoch, firstSeq, lastSeq, offset, endOffset, firstUs, lastUs, bytes } = row;
    this.#values.push(id, epoch, firstSeq, lastSeq, offset, endOffset, firstUs, lastUs, bytes);
  }

  /** Forgets rows with a smaller id. */
  dropBefore(id: number): void {
    while (this.length > 0 && this.#values[this.#start * STRIDE]! < id) this.#start++;
    if (this.#start > 1024 && this.#start * STRIDE > this.#values.length / 2) {
      this.#values = this.#values.slice(this.#start * STRIDE);
      this.#start = 0;
    }
  }

  at(index: number): Omit<HotPlace, 'port'> {
    const at = (this.#start + index) * STRIDE;
    const values = this.#values;
    return {
      id: values[at]!,
      epoch: values[at + 1]!,
      firstSeq: values[at + 2]!,
      lastSeq: values[at + 3]!,
      offset: values[at + 4]!,
      endOffset: values[at + 5]!,
      firstUs: values[at + 6]!,
      lastUs: values[at + 7]!,
      bytes: values[at + 8]!,
    };
  }

  /** Index of the first row that ends at or after the cursor; `length` when none does. */
  firstEndingAt(cursor: LogCursor): number {
    return this.#search((at) => {
      const epoch = this.#values[at + 1]!;
      return (
        epoch > cursor.epoch || (epoch === cursor.epoch && this.#values[at + 3]! >= cursor.seq)
      );
    });
  }

  /** Index of the first row that begins at or after the cursor; `length` when none does. */
  firstBeginningAt(cursor: LogCursor): number {
    return this.#search((at) => {
      const epoch = this.#values[at + 1]!;
      return (
        epoch > cursor.epoch || (epoch === cursor.epoch && this.#values[at + 2]! >= cursor.seq)
      );
    });
  }

  #search(isAfter: (at: number) => boolean): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isAfter((this.#start + middle) * STRIDE)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
