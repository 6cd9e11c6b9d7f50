import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend, BackendSink } from '../../core/backend.ts';
import type { Journal } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import { formatLineSettings, type Flow, type LineSettings } from '../../core/line-settings.ts';
import {
  CONTROL,
  LINE_STATE,
  PARITIES,
  PURGES,
  STOP_BITS,
  type ComPortCommand,
} from '../../protocols/rfc2217.ts';
import {
  COM_PORT_CLIENT,
  hearComPort,
  requestComPort,
  type ComPortClientEvent,
} from '../../protocols/rfc2217-client.ts';
import { TELNET_OPTIONS } from '../../protocols/telnet-options.ts';
import type { OpenerFactory } from '../services.ts';
import { reachServer } from '../tcp/tcp.ts';
import { TelnetLine } from '../telnet/telnet-line.ts';
import { telnetBackend } from '../telnet/telnet.ts';

/**
 * A serial port behind an RFC 2217 server. Its settings and signals are set when it is opened. A
 * server that knows only telnet is served as that, with a warning in the journal.
 */
export const rfc2217Opener: OpenerFactory<'rfc2217'> = (settings, backend, services) => {
  const server = reachServer('rfc2217', backend, services);
  const { description } = server;
  const journal = services.journal.child({ room: 'backends', port: settings.name });
  return {
    kind: 'rfc2217',
    ...server,
    line: settings.line,
    async open(sink) {
      const line = new Rfc2217Line(description, sink, journal);
      const stream = await server.open(line.streamSink);
      return line.begin(stream, settings.line, settings.flow, backend.signals);
    },
  };
};

interface Waiting {
  answered(event: Answered): void;
  failed(why: Fault): void;
}

type Answered = Extract<ComPortClientEvent, { kind: 'answered' }>;

/** One connection to an RFC 2217 server, from the TCP connect to its close. */
class Rfc2217Line {
  readonly #description: string;
  readonly #sink: BackendSink;
  readonly #journal: Journal;
  readonly #line: TelnetLine;
  readonly #waiting = new Map<ComPortCommand, Waiting>();
  #client = COM_PORT_CLIENT;
  /** Why the connection ended, while it was opened. */
  #lost: Fault | null = null;
  #isOpening = true;
  #isBreaking = false;
  #hasSigned = false;
  readonly #closing = new AbortController();

  constructor(description: string, sink: BackendSink, journal: Journal) {
    this.#description = description;
    this.#sink = sink;
    this.#journal = journal;
    this.#line = new TelnetLine({
      description,
      more: [TELNET_OPTIONS.comPort],
      sink: { ...forwarding(sink), gone: (fault) => this.#gone(fault) },
      subnegotiation: (option, bytes) => {
        if (option === TELNET_OPTIONS.comPort) this.#hear(bytes);
      },
    });
  }

  get streamSink(): BackendSink {
    return this.#line.streamSink;
  }

  /** @throws Fault PORT_OPEN_FAILED when the server leaves meanwhile. */
  async begin(
    stream: Backend,
    settings: LineSettings,
    flow: Flow,
    signals: { dtr?: boolean; rts?: boolean },
  ): Promise<Backend> {
    this.#line.start(stream);
    this.#line.ask('us', TELNET_OPTIONS.comPort);
    await this.#line.settled(ANSWER_MS, () => this.#answered());
    if (this.#isComPort) await this.#configure(settings, flow, signals);
    else if (this.#lost === null) {
      const how = this.#answered() ? 'refuses' : 'does not answer';
      this.#journal.warn(
        { backend: this.#description, how },
        'server does not speak RFC 2217: served as telnet, without settings and signals',
      );
    }
    this.#isOpening = false;
    if (this.#lost === null) return this.#backend();
    await this.#line.close();
    throw new Fault('PORT_OPEN_FAILED', this.#lost.message, this.#lost);
  }

  #backend(): Backend {
    const telnet = telnetBackend(this.#line, this.#description);
    return {
      ...telnet,
      setLine: (settings, flow) =>
        this.#isComPort ? this.#setLine(settings, flow) : telnet.setLine(settings, flow),
      setSignals: (signals) =>
        this.#isComPort ? this.#setSignals(signals) : telnet.setSignals(signals),
      sendBreak: (durationMs) =>
        this.#isComPort ? this.#sendBreak(durationMs) : telnet.sendBreak(durationMs),
      setBreak: (isOn) => (this.#isComPort ? this.#setBreak(isOn) : telnet.setBreak(isOn)),
      purge: (queue) => this.#purge(queue),
      signals: () => Promise.resolve(this.#isComPort ? this.#client.signals : {}),
      close: () => this.#close(),
    };
  }

  /** Both sides may begin: it is agreed when the server does as we asked, or offers it. */
  get #isComPort(): boolean {
    const { comPort } = TELNET_OPTIONS;
    return this.#line.state('us', comPort) === 'yes' || this.#line.state('them', comPort) === 'yes';
  }

  #answered(): boolean {
    return this.#isComPort || this.#line.state('us', TELNET_OPTIONS.comPort) === 'no';
  }

  /** What the server does not do is journalled: a console at the wrong speed is better than none. */
  async #configure(
    settings: LineSettings,
    flow: Flow,
    signals: { dtr?: boolean; rts?: boolean },
  ): Promise<void> {
    const { parity, framing, overrun } = LINE_STATE;
    this.#say({ kind: 'line-state-mask', value: LINE_STATE.break | parity | framing | overrun });
    this.#say({ kind: 'modem-state-mask', value: 255 });
    const work = [this.#setLine(settings, flow), this.#setSignals(signals)];
    for (const value of [CONTROL.askDtr, CONTROL.askRts]) this.#say({ kind: 'control', value });
    for (const done of await Promise.allSettled(work)) {
      if (done.status === 'fulfilled' || this.#lost !== null) continue;
      const why = (done.reason as Error).message;
      this.#journal.warn({ backend: this.#description, why }, 'line not as configured');
    }
  }

  async #setLine(settings: LineSettings, flow: Flow): Promise<void> {
    const answers = await Promise.all([
      this.#ask({ kind: 'baud', value: settings.baud, isIos: false }),
      this.#ask({ kind: 'data-bits', value: settings.dataBits }),
      this.#ask({ kind: 'parity', value: PARITIES.indexOf(settings.parity) + 1 }),
      this.#ask({ kind: 'stop-bits', value: STOP_BITS.indexOf(settings.stopBits) + 1 }),
      this.#ask({ kind: 'control', value: FLOWS[flow] }),
    ]);
    const isDone = answers.every(({ asGiven, answer }) =>
      answer.kind === 'baud' ? isNear(answer.value, settings.baud) : asGiven,
    );
    if (isDone) return;
    const { line, flow: flowNow } = this.#client;
    const now = formatLineSettings({ ...settings, ...line });
    throw new Fault(
      'PORT_UNSUPPORTED',
      `${this.#description}: the server cannot do ${formatLineSettings(settings)}, flow ${flow}; the line is at ${now}, flow ${flowNow ?? 'unknown'} now`,
    );
  }

  async #setSignals({ dtr, rts }: { dtr?: boolean; rts?: boolean }): Promise<void> {
    const values: number[] = [];
    if (dtr !== undefined) values.push(dtr ? CONTROL.dtrOn : CONTROL.dtrOff);
    if (rts !== undefined) values.push(rts ? CONTROL.rtsOn : CONTROL.rtsOff);
    await Promise.all(values.map((value) => this.#control(value, 'DTR or RTS')));
  }

  async #sendBreak(durationMs: number): Promise<void> {
    await this.#setBreak(true);
    // A close does not wait, but the line is released first in any case.
    await sleep(durationMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
    if (!this.#closing.signal.aborted) await this.#setBreak(false);
  }

  async #setBreak(isOn: boolean): Promise<void> {
    this.#isBreaking = isOn;
    await this.#control(isOn ? CONTROL.breakOn : CONTROL.breakOff, 'BREAK');
  }

  /**
   * Output only: what waits for us at the server would be lost without being counted, and is read
   * soon anyhow.
   */
  async #purge(queue: 'rx' | 'tx' | 'both'): Promise<void> {
    if (queue === 'rx' || !this.#isComPort || !this.#line.isAlive()) return;
    await this.#ask({ kind: 'purge', value: PURGES.indexOf('tx') + 1 });
  }

  async #control(value: number, what: string): Promise<void> {
    const { asGiven } = await this.#ask({ kind: 'control', value });
    if (asGiven) return;
    const why = `${this.#description}: the server cannot set ${what}`;
    throw new Fault('PORT_UNSUPPORTED', why);
  }

  /** Sends a request without waiting for its answer. */
  #say(request: ComPortCommand): void {
    const { client, bytes } = requestComPort(this.#client, request);
    this.#client = client;
    this.#line.command(bytes);
  }

  /** @throws Fault TIMED_OUT, PORT_GONE. */
  #ask(request: ComPortCommand): Promise<Answered> {
    return new Promise((resolve, reject) => {
      if (!this.#line.isAlive()) return reject(this.#goneFault());
      const timer = setTimeout(() => {
        const why = `${this.#description}: the server did not confirm it within ${ANSWER_MS / 1_000} s`;
        end();
        reject(new Fault('TIMED_OUT', why));
      }, ANSWER_MS);
      const end = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(request);
        const waiting = this.#client.waiting.filter((other) => other !== request);
        this.#client = { ...this.#client, waiting };
      };
      this.#waiting.set(request, {
        answered: (event) => {
          end();
          resolve(event);
        },
        failed: (why) => {
          end();
          reject(why);
        },
      });
      this.#say(request);
    });
  }

  #hear(bytes: Uint8Array): void {
    const { client, events } = hearComPort(this.#client, bytes);
    this.#client = client;
    for (const event of events) this.#handle(event);
  }

  #handle(event: ComPortClientEvent): void {
    switch (event.kind) {
      case 'answered':
        return this.#waiting.get(event.request)?.answered(event);
      case 'signals':
        return this.#sink.event({ kind: 'signals', signals: event.signals });
      case 'break':
        return this.#sink.event({ kind: 'break' });
      case 'line-error':
        return this.#sink.event({ kind: 'line-error', error: event.error, count: 1 });
      case 'suspended':
        return this.#line.hold(event.isSuspended);
      case 'signature-asked':
        if (this.#hasSigned) return; // once is enough, also for a server that asks without end
        this.#hasSigned = true;
        return this.#say({ kind: 'signature', text: 'Fairlead' });
      case 'unexpected':
        return; // late, or of a dialect; nothing depends on it
    }
  }

  #gone(fault: Fault): void {
    this.#failWaiting(fault);
    if (!this.#isOpening) return this.#sink.gone(fault);
    this.#lost = fault;
  }

  #goneFault(): Fault {
    return new Fault('PORT_GONE', `${this.#description} went away`);
  }

  #failWaiting(why: Fault): void {
    for (const waiting of [...this.#waiting.values()]) waiting.failed(why);
  }

  async #close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    if (this.#isBreaking) this.#say({ kind: 'control', value: CONTROL.breakOff });
    const closed = this.#line.close();
    this.#failWaiting(this.#goneFault());
    await closed;
  }
}

/** The server has so long to agree, and to confirm a setting. */
const ANSWER_MS = 5_000;

const FLOWS: Readonly<Record<Flow, number>> = {
  none: CONTROL.flowNone,
  xonxoff: CONTROL.flowXonxoff,
  rtscts: CONTROL.flowHardware,
};

/** A UART divides its clock by whole numbers: 2 % off is what the other side still reads. */
function isNear(baud: number, wanted: number): boolean {
  return Math.abs(baud - wanted) <= wanted * 0.02;
}

function forwarding(sink: BackendSink): BackendSink {
  return {
    rx: (bytes) => sink.rx(bytes),
    rxInto: (read) => sink.rxInto(read),
    gone: (fault) => sink.gone(fault),
    writable: () => sink.writable(),
    event: (event) => sink.event(event),
  };
}
