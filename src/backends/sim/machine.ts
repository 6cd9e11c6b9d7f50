/** A simulated machine on a line. Knows only the time it is told: same seed and input, same output. */
export interface Machine {
  /** Lets time pass until `toMs` since power on; returns what the machine printed meanwhile. */
  advance(toMs: number): Uint8Array;
  /** Bytes typed at it; returns how many it took. */
  input(bytes: Uint8Array): number;
  /** When it prints or does something next if nobody types; never earlier than the last `advance`. */
  nextMs(): number;
  sendBreak(): void;
}

/** What a script asks of its machine. */
export type Step =
  | { kind: 'say'; bytes: Uint8Array }
  | { kind: 'wait'; durationMs: number }
  | { kind: 'read'; unit: 'line' | 'key'; isEchoed: boolean; timeoutMs: number };

/** What the machine answers to a read: what was typed, or null when the time was up. */
export type Typed =
  | { kind: 'line'; text: string }
  | { kind: 'key'; key: string }
  /** CTRL-A three times in a row, as one types it at Xen to move the input. */
  | { kind: 'switch' }
  /** A key right after BREAK. */
  | { kind: 'sysrq'; key: string }
  | null;

/** What a machine does from power on; it never ends. */
export type Script = Generator<Step, void, Typed>;

/** 115,200 baud 8N1. */
const BYTES_PER_MS = 11.52;
/** A serial FIFO and a tty: what is typed beyond it while nobody reads is lost on a real machine too. */
const INPUT_BYTES_MAX = 4_096;
/** A typed line as canonical mode has it (termios(3): MAX_CANON). */
const LINE_CHARS_MAX = 255;

/** Runs a script at the pace of a 115,200 baud line. */
export function runScript(script: Script): Machine {
  let nowMs = 0;
  let step: Step | null = null;
  let startedMs = 0;
  let said = 0;
  let reply: Typed = null;
  let line = '';
  let controlAs = 0;
  let isBreakPending = false;
  let typed: number[] = [];
  let echo: number[] = [];

  function next(): void {
    const result = script.next(reply);
    step = result.done === true ? { kind: 'wait', durationMs: Infinity } : result.value;
    reply = null;
    said = 0;
    line = '';
    startedMs = nowMs;
  }

  function finish(answer: Typed, atMs = nowMs): void {
    nowMs = atMs;
    reply = answer;
    step = null;
  }

  /** Takes typed bytes until the read is answered; what it echoes goes out at once. */
  function readTyped(read: Step & { kind: 'read' }): void {
    while (typed.length > 0 && step !== null) {
      const key = String.fromCharCode(typed.shift()!);
      if (key !== '\x01') controlAs = 0;
      if (isBreakPending) {
        isBreakPending = false;
        finish({ kind: 'sysrq', key });
      } else if (key === '\x01' && ++controlAs === 3) {
        controlAs = 0;
        finish({ kind: 'switch' });
      } else if (key === '\x01') {
        continue;
      } else if (read.unit === 'key') {
        finish({ kind: 'key', key });
      } else {
        editLine(key, read.isEchoed);
      }
    }
  }

  function editLine(key: string, isEchoed: boolean): void {
    const show = (text: string): void => {
      if (isEchoed) echo.push(...Buffer.from(text, 'latin1'));
    };
    if (key === '\r' || key === '\n') {
      echo.push(13, 10);
      finish({ kind: 'line', text: line });
    } else if (key === '\x03') {
      show('^C\r\n');
      finish({ kind: 'line', text: '' });
    } else if (key === '\x7f' || key === '\b') {
      if (line !== '') show('\b \b');
      line = line.slice(0, -1);
    } else if (key === '\x15') {
      show('\b \b'.repeat(line.length));
      line = '';
    } else if (line.length < LINE_CHARS_MAX) {
      line += key;
      show(key < ' ' ? `^${String.fromCharCode(key.charCodeAt(0) + 64)}` : key);
    }
  }

  /** Runs what fits before `toMs`; false when the step at hand needs more time. */
  function runStep(toMs: number, output: Uint8Array[]): boolean {
    if (step === null) next();
    const current = step!;
    if (current.kind === 'say') {
      const endMs = startedMs + current.bytes.length / BYTES_PER_MS;
      const isDone = endMs <= toMs;
      const until = isDone
        ? current.bytes.length
        : Math.floor((toMs - startedMs) * BYTES_PER_MS + 1e-6);
      if (until > said) output.push(current.bytes.subarray(said, until));
      said = Math.max(said, until);
      if (isDone) finish(null, endMs);
      return isDone;
    }
    if (current.kind === 'read') {
      readTyped(current);
      if (echo.length > 0) output.push(Uint8Array.from(echo));
      echo = [];
      if (step === null) return true;
    }
    const endMs = startedMs + durationOf(current);
    if (endMs > toMs) return false;
    finish(null, endMs);
    return true;
  }

  return {
    advance(toMs) {
      const output: Uint8Array[] = [];
      while (runStep(toMs, output));
      nowMs = Math.max(nowMs, toMs);
      return output.length === 1 ? output[0]! : Buffer.concat(output);
    },
    input(bytes) {
      const count = Math.min(bytes.length, INPUT_BYTES_MAX - typed.length);
      typed = typed.concat([...bytes.subarray(0, count)]);
      return count;
    },
    nextMs() {
      if (step === null || step.kind === 'say') return nowMs;
      return typed.length > 0 && step.kind === 'read' ? nowMs : startedMs + durationOf(step);
    },
    sendBreak() {
      isBreakPending = true;
    },
  };
}

function durationOf(step: Step): number {
  if (step.kind === 'wait') return step.durationMs;
  return step.kind === 'read' ? step.timeoutMs : step.bytes.length / BYTES_PER_MS;
}

/** Prints text; `\n` goes out as CR LF, as a console driver sends it. */
export function* say(text: string): Generator<Step, void, Typed> {
  yield { kind: 'say', bytes: Buffer.from(text.replaceAll('\n', '\r\n')) };
}

export function* pause(durationMs: number): Generator<Step, void, Typed> {
  yield { kind: 'wait', durationMs };
}

/** Waits for a line; null when the time is up. `isEchoed`: false at a password prompt. */
export function* readLine(timeoutMs: number, isEchoed = true): Generator<Step, Typed, Typed> {
  return yield { kind: 'read', unit: 'line', isEchoed, timeoutMs };
}

/** Waits for one key, not echoed; null when the time is up. */
export function* readKey(timeoutMs: number): Generator<Step, Typed, Typed> {
  return yield { kind: 'read', unit: 'key', isEchoed: false, timeoutMs };
}

/** Pseudo-random numbers from a seed. */
export interface Random {
  /** 0 <= x < 1. */
  next(): number;
  /** low <= x <= high, whole. */
  between(low: number, high: number): number;
  pick<T>(from: readonly T[]): T;
}

/** A 32-bit Weyl sequence through a mixing function (the family of SplitMix): enough for a play. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  function next(): number {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 4_294_967_296;
  }
  const between = (low: number, high: number): number =>
    low + Math.floor(next() * (high - low + 1));
  return { next, between, pick: (from) => from[between(0, from.length - 1)]! };
}
