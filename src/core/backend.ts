import type { Fault } from './fault.ts';
import type { Flow, LineSettings, SignalStates } from './line-settings.ts';
import type { LineError } from './record.ts';

/** What the backend tells its port. All calls on the capture thread, never after `close` began. */
export interface BackendSink {
  /** Bytes the backend already holds (sockets, simulators). Copied before the return. */
  rx(bytes: Uint8Array): void;
  /**
   * For descriptors: calls `read` once with memory of the spool to read straight into (DESIGN 5:
   * so even a read cut short by kill -9 is kept). `read` returns how many bytes it put at `start`
   * (0: nothing there; negative: hung up). Returns the same number. Nothing is logged for <= 0.
   */
  rxInto(read: (memory: Buffer, start: number, lengthMax: number) => number): number;
  /** The device went away: the port closes this backend and reopens with back-off. Once. */
  gone(fault: Fault): void;
  /** After a `write` that took less than all: the device can take more now. */
  writable(): void;
  /** Something other than bytes came from the line; it stands before the bytes given next. */
  event(
    event:
      | { kind: 'break' }
      | ({ kind: 'line-error' } & LineError)
      | { kind: 'signals'; signals: SignalStates }
      /** Something is missing before the bytes given next, and nobody knows how many bytes. */
      | { kind: 'gap'; reason: string },
  ): void;
}

/** An open line. One contract suite (test/contracts/backend.ts) holds every kind to it. */
export interface Backend {
  /** For `ports` and the journal: `/dev/ttyUSB0 (by-id ...)`, `tcp 10.0.0.9:5001`. */
  readonly description: string;
  /**
   * Hands bytes to the device without blocking and returns how many were taken (0..length). When
   * less than all, `sink.writable()` follows once more can be taken.
   */
  write(bytes: Uint8Array): number;
  /** A session watches: read at once instead of in the 10 ms sweep. */
  setWatched(watched: boolean): void;
  /**
   * Changes the settings of the open line without losing a queued byte.
   * @throws Fault PORT_UNSUPPORTED where there is no UART behind the line.
   */
  setLine(line: LineSettings, flow: Flow): Promise<void>;
  /** @throws Fault PORT_UNSUPPORTED. */
  setSignals(signals: { dtr?: boolean; rts?: boolean }): Promise<void>;
  /**
   * Holds the line in BREAK (spacing) for `durationMs`, then releases it. POSIX tcsendbreak()
   * takes 250 to 500 ms.
   * @throws Fault PORT_GONE when the device left; PORT_UNSUPPORTED when the backend has no BREAK.
   */
  sendBreak(durationMs: number): Promise<void>;
  /**
   * Begins or ends a BREAK of no fixed length (RFC 2217 SET-CONTROL 5 and 6; Linux TIOCSBRK,
   * TIOCCBRK). The port ends what was begun.
   * @throws Fault PORT_GONE, PORT_UNSUPPORTED.
   */
  setBreak(isOn: boolean): Promise<void>;
  /**
   * Empties the driver: `tx`, what was written and did not go out, is thrown away; `rx`, what came
   * from the line and was not read yet, is read at once, as no byte may be missing from the log.
   * Does nothing where there is no such queue.
   */
  purge(queue: 'rx' | 'tx' | 'both'): Promise<void>;
  /** The signals as the driver tells them now; those it does not know are absent. */
  signals(): Promise<SignalStates>;
  /** Liveness probe, every 2 s: false when the device is gone though nothing said so. */
  isAlive(): boolean;
  /** Releases everything, within 1 s, even with output stuck (TCOFLUSH first). Never rejects. */
  close(): Promise<void>;
}

/** Opens a line. One for each port, made from its configuration by backends/index.ts. */
export interface BackendOpener {
  /** `device`, `tcp`, ...: the key of the configuration. */
  readonly kind: string;
  /** What `ports` shows while the port is down: the path or address wanted. */
  readonly target: string;
  /** null where there is no UART: network lines, commands. */
  readonly line: LineSettings | null;
  /**
   * @throws Fault PORT_OPEN_FAILED with the cause and the fix (no such device; permission, and the
   * group to join; held by process N; not a tty; connection refused).
   */
  open(sink: BackendSink): Promise<Backend>;
  /** Calls `returned` when the device may be back (e.g. a change in /dev/serial); returns a stop. */
  watchReturn?(returned: () => void): () => void;
  /** Somebody wants the next `open` to be a true attempt (`up`, USR1), whatever holds attempts back. */
  hurry?(): void;
}

/** Lines of other ports, for a backend that is a part of one (`split`). The rack's, on the capture thread. */
export interface SharedLines {
  /**
   * Takes part in a port's line until `leave`, whether it is up or not. What the part writes stands
   * in that port's log as input of a session named `by`.
   * @throws Fault PORT_UNKNOWN.
   */
  join(port: string, by: string, part: LinePart): SharedLine;
}

/** What a part is told of the line, after its own port's log has it. Must not throw. */
export interface LinePart {
  rx(bytes: Uint8Array): void;
  event: BackendSink['event'];
  up(): void;
  down(why: string): void;
  writable(): void;
}

export interface SharedLine extends Pick<
  Backend,
  'write' | 'setLine' | 'setSignals' | 'sendBreak' | 'setBreak' | 'signals'
> {
  /** Why the line is not up, in words; null: it is. */
  readonly whyDown: string | null;
  /** It is being opened for the first time: `up` or `down` is told when that is done. */
  readonly isOpening: boolean;
  setWatched(watched: boolean): void;
  leave(): void;
}
