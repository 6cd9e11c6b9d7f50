import type { BackendSink, LinePart, SharedLine, SharedLines } from '../../core/backend.ts';
import { GdbSplit } from '../../protocols/gdb-split.ts';
import type { GdbPiece, GdbSide } from '../../protocols/gdb-split.ts';

/** What one part does with the bytes of a line. */
export interface PartBytes {
  rx(bytes: Uint8Array): void;
  event: BackendSink['event'];
  /** Returns how many of `bytes` the line took. */
  write(bytes: Uint8Array, line: SharedLine): number;
  /** The line can take more. */
  writable(): void;
  /** No call of the sink from now on. */
  close(): void;
}

const NOTHING = new Uint8Array(0);

/** The lines that gdb shares with a console: each is told apart once for both of its ports. */
export class GdbLines {
  readonly #lines: SharedLines;
  /** By the port's name. Only while one of its parts is open. */
  readonly #open = new Map<string, GdbLine>();

  constructor(lines: SharedLines) {
    this.#lines = lines;
  }

  /** @throws Fault PORT_UNKNOWN. */
  take(of: string, side: GdbSide, sink: BackendSink): PartBytes {
    let line = this.#open.get(of);
    if (!line) {
      const opened: GdbLine = new GdbLine(this.#lines, of, () => {
        if (this.#open.get(of) === opened) this.#open.delete(of);
      });
      line = opened;
      this.#open.set(of, line);
    }
    return line.take(side, sink);
  }
}

interface Member {
  readonly side: GdbSide;
  readonly sink: BackendSink;
  /** Its last write was refused in part, and it is to hear when there is room. */
  waitsFor: 'device' | 'gdb' | null;
}

class GdbLine {
  readonly #split = new GdbSplit();
  /** Heard before the parts' own: what was held back is out when they are told that it is down. */
  readonly #line: SharedLine;
  readonly #members = new Set<Member>();
  readonly #over: () => void;
  #timer: NodeJS.Timeout | null = null;
  #timerDueMs = 0;

  /** `over`: nobody is to take it any more. @throws Fault PORT_UNKNOWN. */
  constructor(lines: SharedLines, of: string, over: () => void) {
    this.#over = over;
    const listener: LinePart = {
      rx: (bytes) => this.#after(this.#split.fromDevice(bytes, performance.now())),
      event: (event) => {
        // A BREAK or a bad byte in a packet: it is none any more.
        if (event.kind !== 'signals') this.#flush();
        for (const { sink } of this.#members) sink.event(event);
      },
      up: () => undefined,
      down: () => {
        this.#flush();
        this.#over();
      },
      writable: () => undefined,
    };
    this.#line = lines.join(of, of, listener);
  }

  take(side: GdbSide, sink: BackendSink): PartBytes {
    const member: Member = { side, sink, waitsFor: null };
    this.#members.add(member);
    return {
      rx: () => undefined, // by #line
      event: () => undefined,
      writable() {
        member.waitsFor = null;
        sink.writable();
      },
      write: (bytes, line) => this.#write(member, bytes, line),
      close: () => {
        this.#members.delete(member);
        if (this.#members.size > 0) return;
        clearTimeout(this.#timer ?? undefined);
        this.#line.leave();
        this.#over();
      },
    };
  }

  #write(member: Member, bytes: Uint8Array, line: SharedLine): number {
    const isGdb = member.side === 'gdb';
    if (!isGdb && !this.#split.mayTypeNow) {
      member.waitsFor = 'gdb';
      return 0;
    }
    const takenBytes = line.write(bytes);
    member.waitsFor = takenBytes < bytes.length ? 'device' : null;
    if (isGdb) {
      this.#split.fromGdb(bytes.subarray(0, takenBytes), performance.now());
      this.#after([]);
    }
    return takenBytes;
  }

  #flush(): void {
    this.#after(this.#split.flush(performance.now()));
  }

  /** Hands out the pieces, and does what the new state asks for. */
  #after(pieces: readonly GdbPiece[]): void {
    for (const { to, bytes } of pieces) {
      for (const { side, sink } of this.#members) if (side === to) sink.rx(bytes);
    }
    if (this.#split.mayTypeNow) {
      for (const member of this.#members) {
        if (member.waitsFor !== 'gdb') continue;
        member.waitsFor = null;
        member.sink.writable();
      }
    }
    this.#expireLater();
  }

  #expireLater(): void {
    const { dueMs } = this.#split;
    if (dueMs === null || this.#members.size === 0) return;
    if (this.#timer) {
      if (this.#timerDueMs <= dueMs) return; // it looks again then
      clearTimeout(this.#timer);
    }
    this.#timerDueMs = dueMs;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.#expire();
      },
      Math.max(1, dueMs - performance.now()),
    );
  }

  #expire(): void {
    const nowMs = performance.now();
    // The rest of gdb's packet waits for the device.
    const isGdbWaiting = [...this.#members].some(({ side, waitsFor }) => {
      return side === 'gdb' && waitsFor === 'device';
    });
    if (isGdbWaiting) this.#split.fromGdb(NOTHING, nowMs);
    this.#after(this.#split.expire(nowMs));
  }
}
