import type { RecordKind } from './record.ts';
import type { PortPosition } from './spool.ts';

/** A port as the store registers it, before its first record. */
export interface PortRegistration {
  name: string;
  /** Its former name: keeps uuid and log through a rename. */
  was: string | null;
  backend: string;
}

/** What the store knows of a port: where its next record goes. */
export interface RegisteredPort {
  name: string;
  /** Small number of the port in this data directory's databases. */
  portId: number;
  uuid: string;
  position: PortPosition;
  /** Why the epoch is a new one; null when it goes on. */
  newEpochBecause: string | null;
  lastUsedBy: { user: string; atUs: number } | null;
}

/** One row of the audit trail (DESIGN 11), hash-chained in the state database. */
export interface AuditRow {
  atUs: number;
  user: string;
  remote: string;
  frontend: string;
  /** `login`, `login refused`, `attach`, `take over`, `break`, `line`, `read tx`, `config`, ... */
  action: string;
  port: string | null;
  detail: string;
}

/**
 * Visits spooled entries of one port in seq order. Scalars instead of objects: this runs for every
 * read of every port. `memory` is valid only during the call.
 */
export type EntryVisitor = (
  portId: number,
  epoch: number,
  kind: RecordKind,
  seq: number,
  offset: number,
  atUs: number,
  memory: Buffer,
  start: number,
  length: number,
) => void;

/** The store thread's side of the spool. */
export interface SpoolReader {
  /** Bytes of entries, heads included, published and not yet taken. */
  waitingBytes(): number;
  /**
   * Visits what was published since the last take, port by port, in seq order within a port, about
   * `bytesMax` in all (at least one entry). What was taken stays in the spool, safe from eviction,
   * until `committed`. Returns the bytes taken, heads included: 0 only when there was nothing.
   */
  take(bytesMax: number, visit: EntryVisitor): number;
  /** Everything taken so far is durable: its blocks may be used again. */
  committed(): void;
  /**
   * Blocks the thread until the time is up or somebody rang (`wakeStore`); `published` (the
   * default): or until there is something to take; `urgent`: or until 1 MB waits to be taken.
   */
  wait(timeoutMs: number, until?: 'published' | 'urgent'): void;
}

/** Announces commits to readers on other threads: a counter in shared memory, notified. */
export interface CommitSignal {
  readonly counter: Int32Array;
}

/** What a killed or stopped daemon left in its spool, to be committed before capture begins. */
export interface RecoveredSpool {
  /**
   * False: nothing proves that no byte was read after these entries (another boot of the kernel,
   * another data directory, damage): the ports begin a new epoch.
   */
  readonly isContinuous: boolean;
  /** Why not, in words; null when continuous. */
  readonly why: string | null;
  /** Entries of each port in seq order; stops at the first damaged one of a block. */
  visit(
    visitor: (
      uuid: string,
      epoch: number,
      kind: RecordKind,
      seq: number,
      offset: number,
      atUs: number,
      memory: Buffer,
      start: number,
      length: number,
    ) => void,
  ): void;
  /** Ports with a read that a kill cut short and whose bytes were recovered. */
  readonly cutShort: readonly string[];
}
