import type { RecordKind } from './record.ts';

/** Where the next record of a port goes: its epoch's next seq and offset. */
export interface PortPosition {
  epoch: number;
  seq: number;
  offset: number;
}

/**
 * Longest payload of one record in the spool, in bytes: what a block holds. Who has more cuts it
 * into several records; pieces of 4,040 bytes (four to a block) waste the least.
 */
export const PAYLOAD_BYTES_MAX = 16_280;

/**
 * The capture thread's way into the spool for one port. The port core numbers the records, the
 * spool keeps them across kill -9 until the store has committed them. Neither call blocks or
 * throws: when the spool is full, the port over its fair share loses its oldest uncommitted blocks,
 * and the store records the gap from the missing seqs and offsets.
 */
export interface SpoolPort {
  /**
   * Appends one record; `payload` (log/frame.ts encodes it), at most PAYLOAD_BYTES_MAX, is copied.
   * Not to be called on a port from within its own `read`.
   */
  append(kind: RecordKind, seq: number, offset: number, atUs: number, payload: Uint8Array): void;
  /**
   * Opens an rx record before the read: `read` puts bytes into `memory` at `start`, at most
   * `lengthMax` (>= 4096). The entry's head is written first, so replay finds the bytes of a read
   * that a kill cut short. `count <= 0` discards the entry. `atUs` is taken after `read` returned.
   * `read` must not write behind the bytes it reports: recovery would take those for read. One that
   * has to (a decoder in place) makes the first byte behind them ff, which no pattern has.
   */
  readInto(
    seq: number,
    offset: number,
    nowUs: () => number,
    read: (memory: Buffer, start: number, lengthMax: number) => number,
  ): SpooledRead;
  /** The port is gone from the configuration: what is uncommitted stays until committed. */
  release(): void;
}

/** The bytes of a finished read where they lie: valid until the next call on the same port. */
export interface SpooledRead {
  count: number;
  atUs: number;
  memory: Buffer;
  start: number;
}

export interface Spool {
  /** `portId` is the store's number for the port (state database); blocks carry `uuid`, so they outlive that database. */
  port(portId: number, uuid: string, position: PortPosition): SpoolPort;
  /** Wakes the store; cheap, call once after each sweep or lone read. */
  publish(): void;
}
