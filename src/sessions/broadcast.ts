import type { PortSession, SessionEvent } from '../core/attach.ts';
import { Fault } from '../core/fault.ts';
import { globMatches, sameName } from '../core/names.ts';
import type { PortStatus } from '../core/port-status.ts';
import type { Caller } from '../core/user.ts';
import { InputCredit } from './input-credit.ts';
import type { SessionServices } from './session-contract.ts';

/** A port's output is not read here: it may send this much and then skips. */
const CREDIT_BYTES = 4_096;
export const BROADCAST_PORTS_MAX = 100;

/** One person's keys on several ports at once, each as a session of its own. */
export class Broadcast {
  readonly #tell: (text: string) => void;
  readonly #emptied: () => void;
  #targets: Target[] = [];

  /** `emptied` is called when the last of the ports is lost. */
  constructor(tell: (text: string) => void, emptied: () => void) {
    this.#tell = tell;
    this.#emptied = emptied;
  }

  get names(): string[] {
    return this.#targets.map(({ name }) => name);
  }

  /** Attaches to write; tells of each that cannot be written to, which is left out. */
  async join(services: SessionServices, caller: Caller, ports: readonly string[]): Promise<void> {
    await Promise.all(
      ports.map(async (port) => {
        try {
          await this.#joinOne(services, caller, port);
        } catch (error) {
          const why = error instanceof Error ? error.message : String(error);
          this.#tell(`nothing is typed at ${port}: ${why}`);
        }
      }),
    );
    this.#targets.sort((a, b) => a.name.localeCompare(b.name));
  }

  /** Resolves when all of them have it under way: the slowest sets the pace. */
  async send(bytes: Uint8Array): Promise<void> {
    await Promise.all(this.#targets.map(({ input }) => input.send(bytes)));
  }

  leave(why: string): void {
    const targets = this.#targets;
    this.#targets = [];
    for (const { input, session } of targets) {
      input.close();
      session.detach(why);
    }
  }

  async #joinOne(services: SessionServices, caller: Caller, port: string): Promise<void> {
    let target: Target | null = null;
    let isOver = false;
    const onEvent = (event: SessionEvent): void => {
      switch (event.kind) {
        case 'acknowledged':
          target?.input.acknowledged(event.bytes);
          break;
        case 'refused':
          this.#tell(`${port} refuses input: ${event.why}`);
          break;
        case 'writer':
          if (!event.you) this.#lost(target, `${event.writer ?? 'nobody'} writes there now`);
          break;
        case 'ended':
          isOver = true;
          this.#lost(target, event.why);
          break;
        default:
          break; // what it says is for those who look at it
      }
    };
    const session = await services.access.attach(
      { caller, port, mode: 'write-or-leave', delivery: 'person', creditBytes: CREDIT_BYTES },
      onEvent,
    );
    const { attached } = session;
    if (attached.mode !== 'write' || isOver) {
      session.detach('cannot write');
      const { writer } = attached;
      throw new Fault('NOT_WRITER', writer === null ? 'you may only view it' : `${writer} writes`);
    }
    const input = new InputCredit((seq, bytes) => session.input(seq, bytes));
    input.open(attached.inputCreditBytes);
    target = { name: attached.port, session, input };
    this.#targets.push(target);
  }

  #lost(target: Target | null, why: string): void {
    if (target === null || !this.#targets.includes(target)) return;
    this.#targets = this.#targets.filter((other) => other !== target);
    target.input.close();
    target.session.detach('write was lost');
    this.#tell(`nothing more is typed at ${target.name}: ${why}`);
    if (this.#targets.length === 0) this.#emptied();
  }
}

interface Target {
  name: string;
  session: PortSession;
  input: InputCredit;
}

/** The ports that names, aliases and globs mean, without `own`; and the words that mean none. */
export function resolvePorts(
  words: readonly string[],
  ports: readonly PortStatus[],
  own: string,
): { found: string[]; unknown: string[] } {
  const found = new Set<string>();
  const unknown: string[] = [];
  for (const word of words) {
    const fits = ports.filter(({ name, aliases }) =>
      [name, ...aliases].some((each) => sameName(each, word) || globMatches(word, each)),
    );
    if (fits.length === 0) unknown.push(word);
    for (const { name } of fits) found.add(name);
  }
  return { found: [...found].filter((name) => !sameName(name, own)).sort(), unknown };
}
