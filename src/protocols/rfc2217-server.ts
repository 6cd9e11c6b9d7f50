import type { Flow, LineSettings, LineState, SignalStates } from '../core/line-settings.ts';
import {
  baudOfIos,
  CONTROL,
  controlSubject,
  encodeComPort,
  iosOfBaud,
  LINE_STATE,
  MODEM_STATE,
  PARITIES,
  PURGES,
  STOP_BITS,
  type ComPortCommand,
  type LineCommand,
} from './rfc2217.ts';

/**
 * The access server's side of RFC 2217 for one client, without the line itself: a request is planned
 * (`planComPort`), the caller does what the plan says to the line, and then answers with the line as
 * it is (`answerComPort`). So a set that the line, or a right, does not allow is answered with what
 * holds. What no line can contradict, as there is no UART or no such signal, holds as the client
 * wishes.
 */
export interface ComPortServer {
  lineStateMask: number;
  modemStateMask: number;
  /** FLOWCONTROL-SUSPEND: neither data nor notifications until RESUME. Requests are answered. */
  isSuspended: boolean;
  /** The signals we see, as last heard of. */
  signals: SignalStates;
  /** Changes that the client was not told of while it was suspended. */
  untold: number;
  wishes: Wishes;
}

interface Wishes {
  line: LineSettings;
  /** Values of SET-CONTROL. */
  flow: number;
  inboundFlow: number;
  dtr: boolean;
  rts: boolean;
}

/** As RFC 2217 says: nothing of the line's state, all of the modem's. */
export const COM_PORT_SERVER: ComPortServer = {
  lineStateMask: 0,
  modemStateMask: 255,
  isSuspended: false,
  signals: {},
  untold: 0,
  wishes: {
    line: { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1 },
    flow: CONTROL.flowNone,
    inboundFlow: CONTROL.inboundFlowNone,
    dtr: true,
    rts: true,
  },
};

/** What is to be done to the line. */
export type ComPortAction =
  | { do: 'set-line'; line: LineSettings; flow: Flow }
  | { do: 'set-signals'; signals: { dtr?: boolean; rts?: boolean } }
  | { do: 'set-break'; isOn: boolean }
  | { do: 'purge'; queue: (typeof PURGES)[number] };

/** `action` null: nothing is to be done, the answer can follow at once. */
export function planComPort(
  server: ComPortServer,
  request: ComPortCommand,
  line: LineState,
): { server: ComPortServer; action: ComPortAction | null } {
  switch (request.kind) {
    case 'baud':
    case 'data-bits':
    case 'parity':
    case 'stop-bits':
      return planLine(server, request, line);
    case 'control':
      return planControl(server, request.value, line);
    case 'purge': {
      const queue = PURGES[request.value - 1];
      return { server, action: queue === undefined ? null : { do: 'purge', queue } };
    }
    case 'line-state-mask':
      return { server: { ...server, lineStateMask: request.value }, action: null };
    case 'modem-state-mask':
      return { server: { ...server, modemStateMask: request.value }, action: null };
    case 'suspend':
    case 'resume':
      return { server: { ...server, isSuspended: request.kind === 'suspend' }, action: null };
    case 'signature':
    case 'line-state':
    case 'modem-state':
      return { server, action: null };
  }
}

/** The line has no such thing (PORT_UNSUPPORTED): the client's wish holds where nothing contradicts. */
export function wishComPort(server: ComPortServer, action: ComPortAction): ComPortServer {
  if (action.do !== 'set-signals') return server;
  return { ...server, wishes: { ...server.wishes, ...action.signals } };
}

/**
 * What is said to a request once its plan was done or refused, in order. `line` is as it is then;
 * `signature` is ours.
 */
export function answerComPort(
  server: ComPortServer,
  request: ComPortCommand,
  line: LineState,
  signature: string,
): { server: ComPortServer; answers: Uint8Array[] } {
  const answered = (...commands: readonly ComPortCommand[]) => ({
    server,
    answers: commands.map((command) => encodeComPort('server', command)),
  });
  const settings = line.line ?? server.wishes.line;
  switch (request.kind) {
    case 'signature':
      return request.text === '' ? answered({ kind: 'signature', text: signature }) : answered();
    case 'baud': {
      const value = request.isIos ? iosOfBaud(settings.baud) : settings.baud;
      return answered({ ...request, value });
    }
    case 'data-bits':
      return answered({ ...request, value: settings.dataBits });
    case 'parity':
      return answered({ ...request, value: PARITIES.indexOf(settings.parity) + 1 });
    case 'stop-bits':
      return answered({ ...request, value: STOP_BITS.indexOf(settings.stopBits) + 1 });
    case 'control': {
      const value = controlValue(server, request.value, line);
      return value === null ? answered() : answered({ ...request, value });
    }
    case 'purge':
      // Also to a client that may not: nothing of its own waits then, and pyserial fails without.
      return PURGES[request.value - 1] === undefined ? answered() : answered(request);
    case 'line-state-mask':
      return answered(request);
    case 'modem-state-mask': {
      const state = modemState(server.signals) & request.value;
      return request.value === 0 || server.isSuspended
        ? answered(request)
        : answered(request, { kind: 'modem-state', value: state });
    }
    case 'line-state':
      return answered({ kind: 'line-state', value: 0 });
    case 'modem-state':
      return answered({ kind: 'modem-state', value: modemState(server.signals) });
    case 'suspend':
      return answered();
    case 'resume':
      return tellModemState({ ...server, untold: 0 }, server.untold);
  }
}

/** The client negotiated the option: it is told the signals, whatever they are, as pyserial waits for. */
export function beginComPort(
  server: ComPortServer,
  signals: SignalStates,
): { server: ComPortServer; answers: Uint8Array[] } {
  const begun = { ...server, signals: { ...server.signals, ...signals } };
  const value = modemState(begun.signals);
  return { server: begun, answers: [encodeComPort('server', { kind: 'modem-state', value })] };
}

/** Signals changed. */
export function noteSignals(
  server: ComPortServer,
  signals: SignalStates,
): { server: ComPortServer; answers: Uint8Array[] } {
  const before = server.signals;
  const now = { ...before, ...signals };
  const changes = changesBetween(before, now);
  const noted = { ...server, signals: now };
  if (!server.isSuspended) return tellModemState(noted, changes);
  return { server: { ...noted, untold: noted.untold | changes }, answers: [] };
}

/** The device sent BREAK, or the line mangled a character. */
export function noteLineState(
  server: ComPortServer,
  what: keyof typeof LINE_STATE,
): { server: ComPortServer; answers: Uint8Array[] } {
  const value = LINE_STATE[what] & server.lineStateMask;
  if (value === 0 || server.isSuspended) return { server, answers: [] };
  return { server, answers: [encodeComPort('server', { kind: 'line-state', value })] };
}

type Planned = ReturnType<typeof planComPort>;

function planLine(server: ComPortServer, request: LineCommand, { line, flow }: LineState): Planned {
  const before = line ?? server.wishes.line;
  const after = { ...before, ...settingOf(request) };
  if (line === null) {
    return { server: { ...server, wishes: { ...server.wishes, line: after } }, action: null };
  }
  const isSame =
    after.baud === before.baud &&
    after.dataBits === before.dataBits &&
    after.parity === before.parity &&
    after.stopBits === before.stopBits;
  return { server, action: isSame ? null : { do: 'set-line', line: after, flow } };
}

/** Empty for a question, and for a value that means nothing. */
function settingOf(request: LineCommand): Partial<LineSettings> {
  const { value } = request;
  switch (request.kind) {
    case 'baud': {
      const baud = request.isIos ? baudOfIos(value) : value;
      return baud === null || baud === 0 ? {} : { baud };
    }
    case 'data-bits':
      return isDataBits(value) ? { dataBits: value } : {};
    case 'parity': {
      const parity = PARITIES[value - 1];
      return parity === undefined ? {} : { parity };
    }
    case 'stop-bits': {
      const stopBits = STOP_BITS[value - 1];
      return stopBits === undefined ? {} : { stopBits };
    }
  }
}

function isDataBits(value: number): value is LineSettings['dataBits'] {
  return value >= 5 && value <= 8;
}

function planControl(server: ComPortServer, value: number, line: LineState): Planned {
  const nothing: Planned = { server, action: null };
  switch (value) {
    case CONTROL.breakOn:
    case CONTROL.breakOff: {
      const isOn = value === CONTROL.breakOn;
      return isOn === line.isBreaking ? nothing : { server, action: { do: 'set-break', isOn } };
    }
    case CONTROL.dtrOn:
    case CONTROL.dtrOff: {
      const dtr = value === CONTROL.dtrOn;
      if (line.signals.dtr === dtr) return nothing;
      return { server, action: { do: 'set-signals', signals: { dtr } } };
    }
    case CONTROL.rtsOn:
    case CONTROL.rtsOff: {
      const rts = value === CONTROL.rtsOn;
      if (line.signals.rts === rts) return nothing;
      return { server, action: { do: 'set-signals', signals: { rts } } };
    }
  }
  const subject = controlSubject(value);
  const isQuestion = value === CONTROL.askFlow || value === CONTROL.askInboundFlow;
  if ((subject !== 'flow' && subject !== 'inbound-flow') || isQuestion) return nothing;
  if (line.line === null) {
    const wished = subject === 'flow' ? { flow: value } : { inboundFlow: value };
    return { server: { ...server, wishes: { ...server.wishes, ...wished } }, action: null };
  }
  // A UART of ours has one flow control for both directions; that of DCD, DTR or DSR it has not.
  const flow = subject === 'flow' ? FLOWS[value - 1] : undefined;
  if (flow === undefined || flow === line.flow) return nothing;
  return { server, action: { do: 'set-line', line: line.line, flow } };
}

/** A SET-CONTROL of DTR or RTS, or the question for one of them. */
export function isAboutSignals(control: number): boolean {
  return ['dtr', 'rts'].includes(controlSubject(control) ?? '');
}

/** The value that answers a SET-CONTROL; null: it is unknown. */
function controlValue(server: ComPortServer, asked: number, line: LineState): number | null {
  const { wishes } = server;
  switch (controlSubject(asked)) {
    case 'flow':
      return line.line === null ? wishes.flow : CONTROL.flowNone + FLOWS.indexOf(line.flow);
    case 'inbound-flow':
      return line.line === null
        ? wishes.inboundFlow
        : CONTROL.inboundFlowNone + FLOWS.indexOf(line.flow);
    case 'break':
      return line.isBreaking ? CONTROL.breakOn : CONTROL.breakOff;
    case 'dtr':
      return (line.signals.dtr ?? wishes.dtr) ? CONTROL.dtrOn : CONTROL.dtrOff;
    case 'rts':
      return (line.signals.rts ?? wishes.rts) ? CONTROL.rtsOn : CONTROL.rtsOff;
    case null:
      return null;
  }
}

/** In the order of SET-CONTROL 1 to 3, and 14 to 16. */
const FLOWS: readonly Flow[] = ['none', 'xonxoff', 'rtscts'];

function modemState({ dcd, ri, dsr, cts }: SignalStates): number {
  return (
    (dcd ? MODEM_STATE.dcd : 0) |
    (ri ? MODEM_STATE.ri : 0) |
    (dsr ? MODEM_STATE.dsr : 0) |
    (cts ? MODEM_STATE.cts : 0)
  );
}

/** What changed, by the bits of the state (128 to 16), and the deltas that tell of it (8 to 1). */
function changesBetween(before: SignalStates, now: SignalStates): number {
  const changed = modemState(before) ^ modemState(now);
  const fell = changed & modemState(before);
  return (
    changed |
    (changed & MODEM_STATE.dcd ? MODEM_STATE.dcdChanged : 0) |
    (fell & MODEM_STATE.ri ? MODEM_STATE.riFell : 0) |
    (changed & MODEM_STATE.dsr ? MODEM_STATE.dsrChanged : 0) |
    (changed & MODEM_STATE.cts ? MODEM_STATE.ctsChanged : 0)
  );
}

/**
 * RFC 2217 tells a client what of a change is under its mask, if that is not nothing. A signal under
 * the mask that fell is told too: with its delta masked out nobody would know.
 */
function tellModemState(
  server: ComPortServer,
  changes: number,
): { server: ComPortServer; answers: Uint8Array[] } {
  const mask = server.modemStateMask;
  const value = (modemState(server.signals) | (changes & DELTAS)) & mask;
  if (changes === 0 || (value === 0 && (changes & mask) === 0)) return { server, answers: [] };
  return { server, answers: [encodeComPort('server', { kind: 'modem-state', value })] };
}

const DELTAS =
  MODEM_STATE.dcdChanged | MODEM_STATE.riFell | MODEM_STATE.dsrChanged | MODEM_STATE.ctsChanged;
