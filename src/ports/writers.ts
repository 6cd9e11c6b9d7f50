/**
 * Who writes on a port (DESIGN 3): one session, or with `writers: many` all that asked. Who asked
 * while another one wrote waits, first come first served. Knows numbers of sessions only.
 */
export class Writers {
  #many: boolean;
  #writing: number[] = [];
  #waiting: number[] = [];

  constructor(many: boolean) {
    this.#many = many;
  }

  /** Sessions that write now, in the order they got it. */
  get current(): readonly number[] {
    return this.#writing;
  }

  isWriter(session: number): boolean {
    return this.#writing.includes(session);
  }

  /** Asks for write. True: granted; false: waits its turn. */
  ask(session: number): boolean {
    if (this.isWriter(session)) return true;
    if (this.#many || this.#writing.length === 0) {
      this.#waiting = without(this.#waiting, session);
      this.#writing.push(session);
      return true;
    }
    if (!this.#waiting.includes(session)) this.#waiting.push(session);
    return false;
  }

  /**
   * Takes write from whoever has it; returns who lost it. The loser asked before all who wait, so
   * it is the first to get write back.
   */
  force(session: number): number | null {
    if (this.ask(session)) return null;
    const loser = this.#writing[0]!;
    this.#writing = [session];
    this.#waiting = [loser, ...without(this.#waiting, session)];
    return loser;
  }

  /** Gives write up and waits no more. Returns who writes now in its place, if anybody new. */
  leave(session: number): number | null {
    this.#waiting = without(this.#waiting, session);
    const wrote = this.isWriter(session);
    this.#writing = without(this.#writing, session);
    if (!wrote || this.#writing.length > 0) return null;
    const next = this.#waiting.shift();
    if (next === undefined) return null;
    this.#writing.push(next);
    return next;
  }

  /** `one` or `many` was configured anew; returns who gained and who lost write. */
  setMany(many: boolean): { gained: readonly number[]; lost: readonly number[] } {
    this.#many = many;
    if (many) {
      const gained = this.#waiting;
      this.#writing.push(...gained);
      this.#waiting = [];
      return { gained, lost: [] };
    }
    const lost = this.#writing.slice(1);
    this.#writing = this.#writing.slice(0, 1);
    this.#waiting.unshift(...lost);
    return { gained: [], lost };
  }
}

function without(sessions: number[], session: number): number[] {
  return sessions.includes(session) ? sessions.filter((other) => other !== session) : sessions;
}
