import type { AttachRequest, SessionEvent } from '../core/attach.ts';
import type { Caller } from '../core/user.ts';
import { LineEnds } from './line-ends.ts';

/**
 * Where events of sessions go: in this thread one for each session, across a MessagePort one for
 * all sessions of the link, so that bytes many of them watch cross once.
 */
export interface Outlet {
  /** The same live bytes for all these sessions. Shared: nobody may change them. */
  frame(
    sessions: readonly number[],
    epoch: number,
    offset: number,
    atUs: number,
    bytes: Uint8Array,
  ): void;
  event(session: number, event: SessionEvent): void;
}

/** A window smaller than this would only produce skips. */
const WINDOW_BYTES_MIN = 4_096;

/** A session as its port knows it. */
export interface Seat {
  readonly session: number;
  readonly caller: Caller;
  delivery: AttachRequest['delivery'];
  readonly outlet: Outlet;
  readonly attachedAtUs: number;
  lastInputAtUs: number | null;
  /** Last input seq seen. */
  inputSeq: number;
  /** Input not acknowledged yet. */
  inputBytes: number;
  readonly lineEnds: LineEnds;
  hasEnded: boolean;
  readonly windowBytes: number;
  creditBytes: number;
  /** Offset of the next byte this session is to be given; behind the port's: it skips. */
  nextOffset: number;
}

export function makeSeat(
  session: number,
  request: AttachRequest,
  outlet: Outlet,
  attachedAtUs: number,
  offset: number,
): Seat {
  const windowBytes = Math.max(request.creditBytes, WINDOW_BYTES_MIN);
  return {
    session,
    caller: request.caller,
    delivery: request.delivery,
    outlet,
    attachedAtUs,
    lastInputAtUs: null,
    inputSeq: 0,
    inputBytes: 0,
    lineEnds: new LineEnds(),
    hasEnded: false,
    windowBytes,
    creditBytes: windowBytes,
    nextOffset: offset,
  };
}

/**
 * The sessions of one port: live bytes against their credit (DESIGN 3). A session without credit
 * costs the others nothing: a person skips and is told when there is credit again, a program is
 * given up. Safe against calls from within the events it sends.
 */
export class Audience {
  readonly #position: () => { epoch: number; offset: number };
  readonly #tooSlow: (seat: Seat) => void;
  /** Replaced, never changed, so that a fan-out under way goes over the seats it began with. */
  #seats: readonly Seat[] = [];
  #isFanningOut = false;
  /** What calls from within a fan-out must wait for: everybody gets bytes in the same order. */
  #afterFanOut: (() => void)[] = [];

  /** `position` is that of the next rx byte; `tooSlow` must end a program's session. */
  constructor(position: () => { epoch: number; offset: number }, tooSlow: (seat: Seat) => void) {
    this.#position = position;
    this.#tooSlow = tooSlow;
  }

  get seats(): readonly Seat[] {
    return this.#seats;
  }

  add(seat: Seat): void {
    this.#seats = [...this.#seats, seat];
  }

  remove(seat: Seat): void {
    this.#seats = this.#seats.filter((other) => other !== seat);
  }

  seatOf(session: number): Seat | undefined {
    return this.#seats.find((seat) => seat.session === session);
  }

  /**
   * Hands on live bytes which the port's offset already counts. `bytes` is the audience's own
   * copy. Without credit for all of it a session gets none of it, unless nothing is under way to it.
   */
  frame(epoch: number, offset: number, atUs: number, bytes: Uint8Array): void {
    if (this.#isFanningOut) {
      this.#afterFanOut.push(() => this.frame(epoch, offset, atUs, bytes));
      return;
    }
    this.#isFanningOut = true;
    try {
      this.#fanOut(epoch, offset, atUs, bytes);
    } finally {
      this.#isFanningOut = false;
    }
    while (this.#afterFanOut.length > 0 && !this.#isFanningOut) this.#afterFanOut.shift()!();
  }

  #fanOut(epoch: number, offset: number, atUs: number, bytes: Uint8Array): void {
    const count = bytes.length;
    const seats = this.#seats;
    if (seats.length === 1) {
      const seat = seats[0]!;
      if (this.#mayHave(seat, offset, count)) {
        seat.outlet.frame([seat.session], epoch, offset, atUs, bytes);
      }
      return;
    }
    const byOutlet = new Map<Outlet, number[]>();
    for (const seat of seats) {
      if (!this.#mayHave(seat, offset, count)) continue;
      const sessions = byOutlet.get(seat.outlet);
      if (sessions) sessions.push(seat.session);
      else byOutlet.set(seat.outlet, [seat.session]);
    }
    for (const [outlet, sessions] of byOutlet) outlet.frame(sessions, epoch, offset, atUs, bytes);
  }

  /** The session consumed so many bytes of frames. */
  credit(seat: Seat, bytes: number): void {
    if (seat.hasEnded || !(bytes > 0)) return;
    seat.creditBytes = Math.min(seat.creditBytes + bytes, seat.windowBytes);
    if (this.#isFanningOut) this.#afterFanOut.push(() => this.#resume(seat));
    else this.#resume(seat);
  }

  /** A session that skips goes on when it has credit again. */
  #resume(seat: Seat): void {
    if (seat.hasEnded) return;
    const { epoch, offset } = this.#position();
    // Half a window, so that it goes on with a readable stretch and not with single frames.
    if (seat.nextOffset < offset && seat.creditBytes * 2 >= seat.windowBytes) {
      this.#skip(seat, epoch, offset);
    }
  }

  /** The port's epoch ended at `from` and continues at `to`. */
  beginEpoch(from: { epoch: number; offset: number }, to: { epoch: number; offset: number }): void {
    for (const seat of this.#seats) {
      if (seat.nextOffset < from.offset) this.#skip(seat, from.epoch, from.offset);
      seat.nextOffset = to.offset;
      this.tell(seat, { kind: 'epoch', epoch: to.epoch, offset: to.offset });
    }
  }

  tell(seat: Seat, event: SessionEvent): void {
    if (!seat.hasEnded) seat.outlet.event(seat.session, event);
  }

  tellAll(event: SessionEvent): void {
    for (const seat of this.#seats) this.tell(seat, event);
  }

  #mayHave(seat: Seat, offset: number, count: number): boolean {
    if (seat.hasEnded || seat.nextOffset !== offset) return false;
    if (seat.creditBytes < count && seat.creditBytes < seat.windowBytes) {
      if (seat.delivery === 'program') this.#tooSlow(seat);
      return false;
    }
    seat.creditBytes -= count;
    seat.nextOffset = offset + count;
    return true;
  }

  #skip(seat: Seat, epoch: number, to: number): void {
    const from = seat.nextOffset;
    seat.nextOffset = to;
    this.tell(seat, { kind: 'skipped', epoch, from, to });
  }
}
