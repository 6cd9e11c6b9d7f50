import { Fault } from '../../core/fault.ts';
import type { LineState, SignalStates } from '../../core/line-settings.ts';
import {
  answerComPort,
  beginComPort,
  COM_PORT_SERVER,
  isAboutSignals,
  noteLineState,
  noteSignals,
  planComPort,
  wishComPort,
  type ComPortAction,
  type ComPortServer,
} from '../../protocols/rfc2217-server.ts';
import { parseComPort, type ComPortCommand } from '../../protocols/rfc2217.ts';
import type { LineEvent, Session } from '../../sessions/session.ts';

/** What RFC 2217 needs of a session. */
export type ComPortSession = Pick<
  Session,
  'setLine' | 'setSignals' | 'setBreak' | 'purge' | 'lineState'
>;

/**
 * RFC 2217 on a session's line: requests one by one, each answered with what holds once it was done,
 * and notifications as the line changes.
 */
export class ComPort {
  readonly #session: ComPortSession;
  readonly #signature: string;
  readonly #send: (bytes: Uint8Array) => void;
  #server: ComPortServer = COM_PORT_SERVER;
  #hasBegun = false;
  #line: LineState = { line: null, flow: 'none', signals: {}, isBreaking: false };
  /**
   * DTR and RTS in `#line` are those of the driver: once it was asked, events tell of every change.
   * Asking is a transfer on a USB adapter, and a board that is reset by them counts milliseconds.
   */
  #knowsSignals = false;
  /** False: the line is shown with settings and takes none, as a pty. null: not found out. */
  #hasUart: boolean | null = null;

  /** `send` gets whole subnegotiations. */
  constructor(session: ComPortSession, signature: string, send: (bytes: Uint8Array) => void) {
    this.#session = session;
    this.#signature = signature;
    this.#send = send;
  }

  /** The client wants no data for now. */
  get isSuspended(): boolean {
    return this.#server.isSuspended;
  }

  /** The option was agreed on; in both directions perhaps, which is once. */
  async begin(): Promise<void> {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    const { signals } = await this.#look();
    this.#knowsSignals = true;
    this.#say(beginComPort(this.#server, signals));
  }

  /** A sub-option of the client. False: it is malformed. */
  async take(bytes: Uint8Array): Promise<boolean> {
    const request = parseComPort('client', bytes);
    if (request === null) return false;
    if (!isKnown(request, this.#knowsSignals)) await this.#look();
    await this.#carryOut(request);
    this.#say(answerComPort(this.#server, request, this.#line, this.#signature));
    return true;
  }

  event(event: LineEvent): void {
    if (!this.#hasBegun) return;
    switch (event.kind) {
      case 'signals':
        this.#noteSignals(event.signals);
        return this.#say(noteSignals(this.#server, event.signals));
      case 'break':
        return this.#say(noteLineState(this.#server, 'break'));
      case 'line-error':
        return this.#say(noteLineState(this.#server, event.error));
      case 'up':
        this.#knowsSignals = false; // opened anew: they are as the driver made them
        return;
      case 'line':
      case 'writer':
      case 'down':
        return;
    }
  }

  #noteSignals(signals: SignalStates): void {
    this.#line = { ...this.#line, signals: { ...this.#line.signals, ...signals } };
  }

  async #carryOut(request: ComPortCommand): Promise<void> {
    const { server, action } = planComPort(this.#server, request, this.#line);
    this.#server = server;
    if (action === null) return;
    const outcome = await this.#do(action);
    if (outcome === 'unsupported') {
      if (action.do === 'set-line' && (await this.#findsNoUart())) return this.#carryOut(request);
      this.#server = wishComPort(this.#server, action);
    }
    if (action.do === 'set-signals' && outcome === 'done') this.#noteSignals(action.signals);
    else if (isAboutLine(request)) await this.#look();
  }

  /**
   * Tells a driver that cannot do one setting from a line without a UART, which cannot do the one it is
   * shown with either. There, what the client asks for is from now on what it wishes.
   */
  async #findsNoUart(): Promise<boolean> {
    const { line, flow } = await this.#look();
    if (this.#hasUart !== null || line === null) return false;
    if ((await this.#do({ do: 'set-line', line, flow })) !== 'unsupported') return false;
    this.#hasUart = false;
    this.#server = { ...this.#server, wishes: { ...this.#server.wishes, line } };
    await this.#look();
    return true;
  }

  /** The line as it is, or was when last it could be seen. */
  async #look(): Promise<LineState> {
    try {
      const line = await this.#session.lineState();
      this.#line = this.#hasUart === false ? { ...line, line: null } : line;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
    }
    return this.#line;
  }

  async #do(action: ComPortAction): Promise<'done' | 'refused' | 'unsupported'> {
    const session = this.#session;
    try {
      switch (action.do) {
        case 'set-line':
          await session.setLine(action.line, action.flow);
          this.#hasUart = true;
          break;
        case 'set-signals':
          await session.setSignals(action.signals);
          break;
        case 'set-break':
          await session.setBreak(action.isOn);
          break;
        case 'purge':
          await session.purge(action.queue);
      }
      return 'done';
    } catch (error) {
      // The answer says what holds: RFC 2217 has no other way to refuse.
      if (!(error instanceof Fault)) throw error;
      return error.code === 'PORT_UNSUPPORTED' ? 'unsupported' : 'refused';
    }
  }

  #say({ server, answers }: { server: ComPortServer; answers: Uint8Array[] }): void {
    this.#server = server;
    for (const answer of answers) this.#send(answer);
  }
}

/** What it asks for needs no look at the line: nothing of it, or of DTR and RTS only, which are known. */
function isKnown(request: ComPortCommand, knowsSignals: boolean): boolean {
  if (request.kind === 'control' && isAboutSignals(request.value)) return knowsSignals;
  return !isAboutLine(request);
}

/** Its answer tells something of the line, so the driver has to be asked. */
function isAboutLine({ kind }: ComPortCommand): boolean {
  return ['baud', 'data-bits', 'parity', 'stop-bits', 'control'].includes(kind);
}
