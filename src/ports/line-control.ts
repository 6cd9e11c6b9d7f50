import { isDeepStrictEqual } from 'node:util';
import type { Backend } from '../core/backend.ts';
import type { Journal } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import { formatLineSettings } from '../core/line-settings.ts';
import type { Flow, FormattedLineSettings, LineSettings } from '../core/line-settings.ts';
import type { PortLine } from './port-line.ts';
import type { PortRecorder } from './port-recorder.ts';

/** Longest BREAK that may be asked for. */
const BREAK_MS_MAX = 10_000;

/**
 * What is done to the open line besides writing: BREAK, settings and signals, each with its record.
 * Live changes last until the line is opened anew, as configured. Knows nothing of rights.
 */
export class LineControl {
  readonly #line: PortLine;
  readonly #recorder: PortRecorder;
  readonly #journal: Journal;
  /** As the line is now; null without a UART. */
  #settings: LineSettings | null;
  #flow: Flow;

  constructor(line: PortLine, recorder: PortRecorder, journal: Journal, flow: Flow) {
    this.#line = line;
    this.#recorder = recorder;
    this.#journal = journal;
    this.#settings = line.opener.line;
    this.#flow = flow;
  }

  /** Null where there is no UART. */
  get formatted(): FormattedLineSettings | null {
    return this.#settings && formatLineSettings(this.#settings);
  }

  differsFrom(configuredFlow: Flow): boolean {
    if (this.#settings === null) return false;
    const configured = this.#line.opener.line;
    return this.#flow !== configuredFlow || !isDeepStrictEqual(this.#settings, configured);
  }

  /** The line was opened, as configured. */
  opened(configuredFlow: Flow): void {
    this.#settings = this.#line.opener.line;
    this.#flow = configuredFlow;
  }

  /** @throws Fault USAGE, PORT_DOWN, PORT_GONE, PORT_UNSUPPORTED. */
  async sendBreak(durationMs: number, session: number | null): Promise<void> {
    if (!(durationMs >= 1 && durationMs <= BREAK_MS_MAX)) {
      throw new Fault('USAGE', `a BREAK lasts 1 to ${BREAK_MS_MAX} ms`);
    }
    await this.#line.requireUp().sendBreak(durationMs);
    this.#recorder.record({ kind: 'break', session, durationMs });
  }

  /** `flow` null: as it is. @throws Fault PORT_DOWN, PORT_GONE, PORT_UNSUPPORTED. */
  async setLine(line: LineSettings, flow: Flow | null, session: number | null): Promise<void> {
    const newFlow = flow ?? this.#flow;
    const backend = this.#line.requireUp();
    await backend.setLine(line, newFlow);
    this.#isNow(backend, line, newFlow, session);
  }

  /** @throws Fault PORT_DOWN, PORT_GONE, PORT_UNSUPPORTED. */
  async setSignals(
    signals: { dtr?: boolean; rts?: boolean },
    session: number | null,
  ): Promise<void> {
    await this.#line.requireUp().setSignals(signals);
    this.#recorder.record({ kind: 'signals', signals, session });
  }

  /** The configuration of the same device changed: on the open line, or by opening it anew. */
  async reconfigure(flow: Flow): Promise<void> {
    const { backend, opener } = this.#line;
    if (!backend || !opener.line) return;
    try {
      await backend.setLine(opener.line, flow);
      this.#isNow(backend, opener.line, flow, null);
    } catch (error) {
      this.#journal.warn({ err: error }, 'line settings need the device opened anew');
      this.#line.replace(opener, 'the line settings were changed');
    }
  }

  #isNow(backend: Backend, line: LineSettings, flow: Flow, session: number | null): void {
    if (this.#line.backend !== backend) return; // opened anew meanwhile, as configured
    this.#settings = line;
    this.#flow = flow;
    this.#recorder.record({ kind: 'line', line: formatLineSettings(line), session });
  }
}
