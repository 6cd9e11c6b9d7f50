import { Fault } from '../core/fault.ts';
import type { VerbIo } from '../core/frontend.ts';
import type { LogCursor } from '../core/log-reader.ts';
import { LogRange } from '../log/range.ts';
import { REPLAY_SPEED_MAX, REPLAY_SPEED_MIN, Replay } from '../log/replay.ts';
import type { ReplayOutput, ReplayPiece, ReplayPlace, ReplaySource } from '../log/replay.ts';
import { TIME_EXPRESSIONS, formatTime } from '../log/time-expression.ts';
import { realTimers } from '../ports/timers.ts';
import { sanitize, startSanitizer } from '../protocols/sanitize.ts';
import { place } from './log.ts';
import { needLog, positiveNumber, text } from './verb.ts';
import type { Verb } from './verb.ts';

export const replayVerb: Verb = {
  name: 'replay',
  summary: 'plays what a port said, as it happened',
  usage: 'PORT',
  args: ['<port>'],
  right: 'view',
  where: 'anywhere',
  needsDaemon: false,
  options: [
    { flags: '--from <time>', does: 'from this time or place on; else from the start of the log' },
    { flags: '--to <time>', does: 'up to this time or place; else up to now' },
    { flags: '--speed <times>', does: 'so many times faster (2), or slower (0.5)' },
    { flags: '--idle-max <seconds>', does: 'wait no longer than this where the port was silent' },
  ],
  details: [
    'Keys: space pauses and goes on; left and right: 10 s back and forward; up and down, + and -:',
    'twice as fast, half as fast; . when paused: the next piece; q, CTRL-C or ^Ec. leaves.',
    `Times: ${TIME_EXPRESSIONS}.`,
    'Colours and cursor moves are played; what makes a terminal answer is not. Nothing is typed.',
  ],
  examples: [
    { command: 'fairlead replay db1 --from 10m --idle-max 2', does: 'the last ten minutes, brisk' },
    { command: 'ssh -t console replay db1 --from @81920 --speed 8', does: 'from a byte on' },
  ],
  async run(context, parsed) {
    const { io, caller } = context;
    const log = needLog(context);
    const speed = positiveNumber(parsed, 'speed') ?? 1;
    if (speed < REPLAY_SPEED_MIN || speed > REPLAY_SPEED_MAX) {
      throw new Fault('USAGE', `--speed is ${REPLAY_SPEED_MIN} to ${REPLAY_SPEED_MAX}`);
    }
    const idleMax = positiveNumber(parsed, 'idleMax');
    const from = place(context, text(parsed, 'from')) ?? { at: 'start' };
    const to = place(context, text(parsed, 'to')) ?? { at: 'end' };
    const [port] = await log.ports(caller, parsed.args[0]);
    const range = await LogRange.open(log, caller, port!.uuid, from, to);
    const output = new ReplayTerminal(io);
    const replay = new Replay(new RangeSource(range), realTimers, output, {
      speed,
      ...(idleMax === undefined ? {} : { idleMaxUs: idleMax * 1_000_000 }),
    });
    const stop = (): void => replay.stop();
    io.signal.addEventListener('abort', stop);
    if (io.signal.aborted) stop();
    if (io.isTerminal) io.onInput(replayKeys(replay), true);
    try {
      await replay.run();
      await output.tidy();
    } finally {
      io.signal.removeEventListener('abort', stop);
      if (io.isTerminal) io.onInput(null, false);
    }
    return 0;
  },
};

/** What keys ask of a replay. */
export interface ReplayControls {
  readonly speed: number;
  place(): ReplayPlace;
  pause(): void;
  resume(): void;
  step(): void;
  seekBy(seconds: number): void;
  setSpeed(speed: number): void;
  stop(): void;
}

/** Input to control; a key may come in pieces. What a terminal says of itself is ignored. */
export function replayKeys(replay: ReplayControls): (bytes: Uint8Array | null) => void {
  let held = '';
  return (bytes) => {
    if (bytes === null) return;
    const typed = held + Buffer.from(bytes).toString('latin1');
    held = PARTIAL_KEY.exec(typed)?.[0] ?? '';
    if (held.length > KEY_BYTES_MAX) held = '';
    for (const [key] of typed.slice(0, typed.length - held.length).matchAll(KEY)) press(key);
  };

  function press(key: string): void {
    switch (key.replace(/^\x1bO/, '\x1b[')) {
      case ' ':
        return replay.place().isPaused ? replay.resume() : replay.pause();
      case '\x1b[C':
        return replay.seekBy(SEEK_SECONDS);
      case '\x1b[D':
        return replay.seekBy(-SEEK_SECONDS);
      case '\x1b[A':
      case '+':
      case '=':
        return replay.setSpeed(replay.speed * 2);
      case '\x1b[B':
      case '-':
        return replay.setSpeed(replay.speed / 2);
      case '.':
        return replay.step();
      case 'q':
      case 'Q':
      case '\x03':
      case '\x05c.':
        return replay.stop();
    }
  }
}

const SEEK_SECONDS = 10;
const BATCH_BYTES = 65_536;
const KEY_BYTES_MAX = 32;
/** `^Ec.`, a control sequence (ECMA-48) or SS3, or one byte. */
const KEY = /\x05c\.|\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[A-Z]|[\s\S]/g;
const PARTIAL_KEY = /(?:\x05c?|\x1b(?:O|\[[0-?]*[ -/]*)?)$/;

/** Back to the normal screen, DECSTR, ASCII, not reversed, wrapping. The cursor stays. */
const TIDY = '\x1b[?1047l\x1b[!p\x0f\x1b(B\x1b[?5l\x1b[?7h\x1b[?25h\x1b[0m';
const CLEAR = `${TIDY}\x1b[H\x1b[2J`;

class RangeSource implements ReplaySource<LogCursor> {
  readonly #range: LogRange;

  constructor(range: LogRange) {
    this.#range = range;
  }

  async next(): Promise<{ mark: LogCursor; pieces: ReplayPiece[] } | null> {
    for (;;) {
      const mark = this.#range.cursor;
      const { records, atEnd } = await this.#range.next(BATCH_BYTES);
      const pieces = records.filter((record) => record.kind === 'rx');
      if (pieces.length > 0) return { mark, pieces };
      if (atEnd) return null;
    }
  }

  goTo(mark: LogCursor): void {
    this.#range.goTo(mark);
  }
}

/** Made safe, and on a terminal with one line on top while it is paused. */
class ReplayTerminal implements ReplayOutput {
  readonly #io: VerbIo;
  #sanitizer = startSanitizer('terminal');

  constructor(io: VerbIo) {
    this.#io = io;
  }

  async write(bytes: Uint8Array): Promise<void> {
    const { state, bytes: safe } = sanitize(this.#sanitizer, bytes);
    this.#sanitizer = state;
    if (safe.length > 0) await this.#io.write(safe);
  }

  async restart(): Promise<void> {
    this.#sanitizer = startSanitizer('terminal');
    await this.#control(CLEAR);
  }

  /** On the top row: the bottom one mostly holds the line being written. */
  async hold({ atUs, offset, speed }: ReplayPlace): Promise<void> {
    const time =
      atUs === null
        ? ''
        : ` ${formatTime(atUs, this.#io.timeZone, { show: 'time', offset: false })}`;
    const status = `[paused${time} @${offset ?? 0} x${speed}]`;
    const shown = status.slice(0, Math.max(1, this.#io.size().columns - 1));
    await this.#control(`\x1b7\x1b[1;1H\x1b[0;7m${shown}\x1b[0m\x1b[K\x1b8`);
  }

  async release(): Promise<void> {
    await this.#control('\x1b7\x1b[1;1H\x1b[0m\x1b[2K\x1b8');
  }

  /** Leaves the terminal as a shell expects it. */
  async tidy(): Promise<void> {
    await this.#control(TIDY);
  }

  async #control(sequence: string): Promise<void> {
    if (this.#io.isTerminal) await this.#io.write(Buffer.from(sequence));
  }
}
