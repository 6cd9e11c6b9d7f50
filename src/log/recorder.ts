import { Fault } from '../core/fault.ts';
import type { LogRecord, RecordKind } from '../core/record.ts';
import type { PortPosition } from '../core/spool.ts';
import type { EntryVisitor } from '../core/store.ts';
import { decodeBody, encodeBody, FrameBuilder, type PackedFrame } from './frame.ts';

/** What a commit adds to one port: one frame, or several where time stepped. */
export interface Frame extends PackedFrame {
  portId: number;
  epoch: number;
}

/** A session's coming, going or taking over, told apart for the table of sessions. */
export interface SessionRecord {
  portId: number;
  record: Extract<LogRecord, { kind: 'attached' | 'detached' | 'took-over' }>;
}

export interface RecordedBatch {
  /** In the order of arrival; those of a port in log order. */
  frames: Frame[];
  sessions: SessionRecord[];
  /** Entries that no log can hold (an unknown port, an offset that fell): somebody has a bug. */
  refused: number;
}

/** A frame is closed at this size, so that no row or segment grows without bound. */
const FRAME_BYTES = 1024 * 1024;

interface Track {
  portId: number;
  epoch: number;
  seq: number;
  offset: number;
  holeReason: string;
}

const SPOOL_FULL = 'spool full';

/**
 * Packs spooled entries into frames, one for each port and commit. Knows where each port's next
 * record goes: what was committed before (a replay after a kill) is dropped, and a hole becomes a
 * gap record in its place, exact to the byte.
 */
export class Recorder {
  readonly #tracks = new Map<number, Track>();
  readonly #builder = new FrameBuilder();
  /** Whose frame is being built. */
  #track: Track | null = null;
  #frames: Frame[] = [];
  #sessions: SessionRecord[] = [];
  #refused = 0;

  /**
   * Where a port's next record goes. Ports are made known before their first entry. `holeReason`
   * names the first hole, when it is not the spool's doing.
   */
  expect(portId: number, position: PortPosition, holeReason = SPOOL_FULL): void {
    this.#closeFrame();
    const { epoch, seq, offset } = position;
    this.#tracks.set(portId, { portId, epoch, seq, offset, holeReason });
    this.#track = null;
  }

  /** Where a port's next record goes, after all that was added; null: not known. */
  position(portId: number): PortPosition | null {
    const track = this.#tracks.get(portId);
    return track ? { epoch: track.epoch, seq: track.seq, offset: track.offset } : null;
  }

  /** Takes one entry; hand it to `SpoolReader.take`. Never throws for what an entry holds. */
  readonly add: EntryVisitor = (portId, epoch, kind, seq, offset, atUs, memory, start, length) => {
    const track = this.#switchTo(portId);
    if (track === null) {
      this.#refused++;
      return;
    }
    if (epoch < track.epoch) return;
    if (epoch > track.epoch) {
      this.#closeFrame();
      track.epoch = epoch;
      track.seq = 1;
      track.offset = 0;
    }
    if (seq < track.seq) return;
    if (offset < track.offset || (seq === track.seq && offset > track.offset)) {
      this.#refused++;
      return;
    }
    try {
      if (seq > track.seq) this.#appendGap(track, seq, offset, atUs);
      this.#append(track, kind, seq, offset, atUs, memory, start, length);
      if (kind !== 'rx') this.#noteSession(track, kind, seq, offset, atUs, memory, start, length);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#refused++;
    }
  };

  /** What was added since the last call. */
  finish(): RecordedBatch {
    this.#closeFrame();
    const batch = { frames: this.#frames, sessions: this.#sessions, refused: this.#refused };
    this.#frames = [];
    this.#sessions = [];
    this.#refused = 0;
    return batch;
  }

  #switchTo(portId: number): Track | null {
    if (this.#track?.portId === portId) return this.#track;
    this.#closeFrame();
    this.#track = this.#tracks.get(portId) ?? null;
    return this.#track;
  }

  #appendGap(track: Track, seq: number, offset: number, atUs: number): void {
    const [from, seqs] = [track.offset, seq - track.seq];
    const payload = encodeBody({
      kind: 'gap',
      from,
      to: offset,
      count: offset - from,
      reason: track.holeReason,
      seqs,
    });
    track.holeReason = SPOOL_FULL;
    const memory = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
    this.#append(track, 'gap', track.seq, from, atUs, memory, 0, memory.length);
  }

  #append(
    track: Track,
    kind: RecordKind,
    seq: number,
    offset: number,
    atUs: number,
    memory: Buffer,
    start: number,
    length: number,
  ): void {
    const builder = this.#builder;
    const mustClose =
      kind === 'clock-step' || atUs < builder.lastUs || builder.bytes >= FRAME_BYTES;
    if (builder.count > 0 && mustClose) this.#closeFrame();
    builder.add(kind, seq, offset, Math.trunc(atUs), memory, start, length);
    track.seq = builder.nextSeq;
    track.offset = builder.endOffset;
  }

  #noteSession(
    track: Track,
    kind: RecordKind,
    seq: number,
    offset: number,
    atUs: number,
    memory: Buffer,
    start: number,
    length: number,
  ): void {
    if (kind !== 'attached' && kind !== 'detached' && kind !== 'took-over') return;
    const body = decodeBody(kind, memory.subarray(start, start + length));
    const head = { epoch: track.epoch, seq, offset, atUs };
    this.#sessions.push({
      portId: track.portId,
      record: { ...head, ...body } as SessionRecord['record'],
    });
  }

  #closeFrame(): void {
    if (this.#builder.count === 0 || this.#track === null) return;
    const { portId, epoch } = this.#track;
    this.#frames.push({ portId, epoch, ...this.#builder.finish() });
  }
}
