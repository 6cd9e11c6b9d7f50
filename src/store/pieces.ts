import type { LogCursor, LogEpoch } from '../core/log-reader.ts';
import type { SegmentPlace } from './segment.ts';

/** A stretch of a port's log that is loaded at once: a segment, a hot row, or a recovered frame. */
export interface Piece extends SegmentPlace {
  /** Its frame. @throws Fault LOG_DAMAGED; Vanished. */
  load(): Buffer;
}

/** A hot row was sealed and deleted between finding and loading it: look again. */
export class Vanished extends Error {}

/** What a reader asks of one port's log, piece by piece, in log order. */
export interface PortPieces {
  /** The piece that holds the cursor's record, or the next one after it. */
  at(cursor: LogCursor): Piece | null;
  /** The piece that holds the last record before the cursor. */
  before(cursor: LogCursor): Piece | null;
  /** The first piece for which `isReached` holds; it holds for every later piece of the stretch, too. */
  first(isReached: (place: SegmentPlace) => boolean, epoch?: number): Piece | null;
  /** Oldest first. */
  epochs(): LogEpoch[];
}
