import type { EscapePrefix } from '../core/user.ts';
import type { Timers } from '../ports/timers.ts';

/** A lone ^E is the device's (end of line in every shell) when no second key follows in this time. */
export const LONE_PREFIX_MS = 500;

/** What may follow the prefix, by character; `next` when the key wants another one. */
export type EscapeTable<Action> = Readonly<Record<string, EscapeKey<Action>>>;
export type EscapeKey<Action> =
  /** `isSilent`: left out of the help. */
  | { help: string; action: Action; isSilent?: boolean }
  /** `keys`: shown for all that may follow, where a list of them would help nobody. */
  | { help: string; next: EscapeTable<Action>; keys?: string };

/** What one chunk of input came to. */
export interface EscapeStep<Action> {
  /** Bytes of a sequence that has begun; handed back with the next chunk. */
  held: readonly number[];
  /** Bytes for the device, at once; null: none. */
  pass: Uint8Array | null;
  /** A sequence is complete. */
  action: Action | null;
  /** A sequence ended with a key that means nothing, as in `^Ecq`; null: none did. */
  unknown: string | null;
}

/**
 * The keys behind a prefix, `^Ec` unless configured (DESIGN 7). Pure. A chunk that *is* a sequence
 * counts, and so do its keys typed one by one; inside a longer chunk, as in a paste, it does not.
 * Every other byte passes unchanged.
 */
export function stepEscape<Action>(
  table: EscapeTable<Action>,
  prefix: EscapePrefix,
  held: readonly number[],
  chunk: Uint8Array,
): EscapeStep<Action> {
  if (held.length === 0 && (chunk.length === 0 || chunk[0] !== prefix[0])) return passing(chunk);
  const sequence = held.length === 0 ? chunk : Uint8Array.from([...held, ...chunk]);
  const step = readSequence(table, prefix, sequence);
  if (step) return step;
  if (held.length === 0) return passing(chunk);
  // What was begun is not a sequence with this chunk, but the chunk may be one by itself.
  const anew = stepEscape(table, prefix, [], chunk);
  return { ...anew, pass: Uint8Array.from([...held, ...(anew.pass ?? [])]) };
}

/** The lines of `^Ec?`. */
export function escapeHelp(table: EscapeTable<unknown>, prefix: EscapePrefix): string[] {
  const lines = helpLines(table, prefixName(prefix));
  const columns = Math.max(...lines.map(({ keys }) => keys.length));
  return lines.map(({ keys, help }) => `${keys.padEnd(columns)}  ${help}`);
}

/** `^Ec` */
export function prefixName(prefix: EscapePrefix): string {
  return prefix.map((byte) => keyName(String.fromCharCode(byte))).join('');
}

/** `^R` for a control character, others as they are. */
export function keyName(key: string): string {
  const code = key.charCodeAt(0);
  if (code < 0x20) return `^${String.fromCharCode(code + 0x40)}`;
  if (code < 0x7f) return key;
  return code === 0x7f ? '^?' : `\\${code.toString(8)}`;
}

/** The same with the time that a lone ^E waits. */
export class EscapeKeys<Action> {
  readonly #table: EscapeTable<Action>;
  #prefix: EscapePrefix;
  readonly #timers: Timers;
  readonly #onLonePrefix: (bytes: Uint8Array) => void;
  #held: readonly number[] = [];
  #cancelWait: (() => void) | null = null;

  /** `onLonePrefix` gets the ^E that nothing followed. */
  constructor(
    table: EscapeTable<Action>,
    prefix: EscapePrefix,
    timers: Timers,
    onLonePrefix: (bytes: Uint8Array) => void,
  ) {
    this.#table = table;
    this.#prefix = prefix;
    this.#timers = timers;
    this.#onLonePrefix = onLonePrefix;
  }

  get prefix(): EscapePrefix {
    return this.#prefix;
  }

  set prefix(prefix: EscapePrefix) {
    this.#prefix = prefix;
  }

  step(chunk: Uint8Array): EscapeStep<Action> {
    const step = stepEscape(this.#table, this.#prefix, this.#held, chunk);
    this.#held = step.held;
    this.stop();
    if (step.held.length === 1) {
      this.#cancelWait = this.#timers.after(LONE_PREFIX_MS, () => {
        this.#cancelWait = null;
        this.#onLonePrefix(Uint8Array.from(this.#held));
        this.#held = [];
      });
    }
    return step;
  }

  stop(): void {
    this.#cancelWait?.();
    this.#cancelWait = null;
  }

  /** The keys end; returns what of a sequence had begun. */
  end(): Uint8Array {
    this.stop();
    const held = Uint8Array.from(this.#held);
    this.#held = [];
    return held;
  }
}

function helpLines(table: EscapeTable<unknown>, before: string): { keys: string; help: string }[] {
  return Object.entries(table).flatMap(([key, entry]) => {
    const { help } = entry;
    if (!('next' in entry)) return entry.isSilent ? [] : [{ keys: before + keyName(key), help }];
    if (entry.keys !== undefined) return [{ keys: before + entry.keys, help }];
    return helpLines(entry.next, before + keyName(key));
  });
}

function passing(chunk: Uint8Array): EscapeStep<never> {
  return { held: [], pass: chunk.length > 0 ? chunk : null, action: null, unknown: null };
}

/** A sequence, complete or begun; null: it is none. */
function readSequence<Action>(
  table: EscapeTable<Action>,
  prefix: EscapePrefix,
  sequence: Uint8Array,
): EscapeStep<Action> | null {
  const begun: EscapeStep<Action> = {
    held: [...sequence],
    pass: null,
    action: null,
    unknown: null,
  };
  for (const [i, byte] of prefix.entries()) {
    if (i === sequence.length) return begun;
    if (sequence[i] !== byte) return null;
  }
  let keys = table;
  for (let i = prefix.length; i < sequence.length; i++) {
    const key = String.fromCharCode(sequence[i]!);
    const entry = Object.hasOwn(keys, key) ? keys[key]! : null;
    const isLast = i === sequence.length - 1;
    if (entry && 'next' in entry) keys = entry.next;
    else if (!isLast) return null;
    else if (entry) return { held: [], pass: null, action: entry.action, unknown: null };
    else return { held: [], pass: null, action: null, unknown: key };
  }
  return begun;
}
