import type { LineSettings, Flow, SignalStates } from '../core/line-settings.ts';
import {
  baudOfIos,
  CONTROL,
  controlSubject,
  encodeComPort,
  LINE_STATE,
  MODEM_STATE,
  PARITIES,
  parseComPort,
  STOP_BITS,
  type ComPortCommand,
} from './rfc2217.ts';

/** The client's side of RFC 2217: what it asked for and waits for, and what it was told. */
export interface ComPortClient {
  /** Requests that the server has not answered, oldest first. Time-outs are the caller's. */
  waiting: readonly ComPortCommand[];
  /** The server's line as far as it told. */
  line: Partial<LineSettings>;
  /** null: not told, or a kind that we have no word for. */
  flow: Flow | null;
  isBreaking: boolean | null;
  signals: SignalStates;
  /** The server asked us to send neither data nor requests for now. */
  isSuspended: boolean;
}

export const COM_PORT_CLIENT: ComPortClient = {
  waiting: [],
  line: {},
  flow: null,
  isBreaking: null,
  signals: {},
  isSuspended: false,
};

/** More requests than this are not waited for: the oldest is given up. */
export const COM_PORT_WAITING_MAX = 64;

export type ComPortClientEvent =
  /** The server's answer to a request: `asGiven` when it has the value that was asked for. */
  | { kind: 'answered'; request: ComPortCommand; answer: ComPortCommand; asGiven: boolean }
  /** A signal rose or fell. */
  | { kind: 'signals'; signals: SignalStates }
  | { kind: 'break' }
  | { kind: 'line-error'; error: 'framing' | 'parity' | 'overrun' }
  | { kind: 'suspended'; isSuspended: boolean }
  /** The server wants to know who we are. */
  | { kind: 'signature-asked' }
  /** An answer nobody waits for, or no command at all. */
  | { kind: 'unexpected' };

/** Returns what to send. */
export function requestComPort(
  client: ComPortClient,
  request: ComPortCommand,
): { client: ComPortClient; bytes: Uint8Array } {
  const bytes = encodeComPort('client', request);
  if (!isAnswered(request)) return { client, bytes };
  const waiting = [...client.waiting, request].slice(-COM_PORT_WAITING_MAX);
  return { client: { ...client, waiting }, bytes };
}

/** `bytes` of a COM-PORT-OPTION sub-option from the server. */
export function hearComPort(
  client: ComPortClient,
  bytes: Uint8Array,
): { client: ComPortClient; events: ComPortClientEvent[] } {
  const said = parseComPort('server', bytes);
  switch (said?.kind) {
    case 'modem-state':
      return hearModemState(client, said.value!);
    case 'line-state':
      return { client, events: lineStateEvents(said.value!) };
    case 'suspend':
    case 'resume': {
      const isSuspended = said.kind === 'suspend';
      return {
        client: { ...client, isSuspended },
        events: [{ kind: 'suspended', isSuspended }],
      };
    }
    case 'signature':
      if (said.text === '') return { client, events: [{ kind: 'signature-asked' }] };
      return hearAnswer(client, said);
    case undefined:
      return { client, events: [{ kind: 'unexpected' }] };
    default:
      return hearAnswer(client, said!);
  }
}

function hearAnswer(
  client: ComPortClient,
  answer: ComPortCommand,
): { client: ComPortClient; events: ComPortClientEvent[] } {
  const at = client.waiting.findIndex((request) => isAnswer(request, answer));
  const request = client.waiting[at];
  if (request === undefined) return { client, events: [{ kind: 'unexpected' }] };
  return {
    client: { ...learnt(client, answer), waiting: client.waiting.toSpliced(at, 1) },
    events: [{ kind: 'answered', request, answer, asGiven: isAsGiven(request, answer) }],
  };
}

function isAnswered(request: ComPortCommand): boolean {
  switch (request.kind) {
    case 'suspend':
    case 'resume':
    case 'line-state':
    case 'modem-state':
      return false;
    case 'signature':
      return request.text === '';
    case 'control':
      return controlSubject(request.value) !== null;
    case 'purge':
      return request.value >= 1 && request.value <= 3;
    default:
      return true;
  }
}

function isAnswer(request: ComPortCommand, answer: ComPortCommand): boolean {
  if (request.kind === 'control' && answer.kind === 'control') {
    return controlSubject(request.value) === controlSubject(answer.value);
  }
  if (request.kind === 'baud' && answer.kind === 'baud') return request.isIos === answer.isIos;
  return request.kind === answer.kind;
}

function isAsGiven(request: ComPortCommand, answer: ComPortCommand): boolean {
  if (!('value' in request) || !('value' in answer)) return true;
  return request.value === answer.value || isQuestion(request);
}

function isQuestion(request: ComPortCommand): boolean {
  if (request.kind === 'control') return QUESTIONS.includes(request.value);
  return 'value' in request && request.value === 0 && !request.kind.endsWith('mask');
}

const QUESTIONS: readonly number[] = [
  CONTROL.askFlow,
  CONTROL.askBreak,
  CONTROL.askDtr,
  CONTROL.askRts,
  CONTROL.askInboundFlow,
];

function learnt(client: ComPortClient, answer: ComPortCommand): ComPortClient {
  switch (answer.kind) {
    case 'baud': {
      const baud = answer.isIos ? baudOfIos(answer.value) : answer.value;
      return baud === null || baud === 0 ? client : withLine(client, { baud });
    }
    case 'data-bits': {
      const { value } = answer;
      if (value < 5 || value > 8) return client;
      return withLine(client, { dataBits: value as LineSettings['dataBits'] });
    }
    case 'parity': {
      const parity = PARITIES[answer.value - 1];
      return parity === undefined ? client : withLine(client, { parity });
    }
    case 'stop-bits': {
      const stopBits = STOP_BITS[answer.value - 1];
      return stopBits === undefined ? client : withLine(client, { stopBits });
    }
    case 'control':
      return withControl(client, answer.value);
    default:
      return client;
  }
}

function withLine(client: ComPortClient, known: Partial<LineSettings>): ComPortClient {
  return { ...client, line: { ...client.line, ...known } };
}

function withControl(client: ComPortClient, value: number): ComPortClient {
  const { signals } = client;
  switch (value) {
    case CONTROL.flowNone:
      return { ...client, flow: 'none' };
    case CONTROL.flowXonxoff:
      return { ...client, flow: 'xonxoff' };
    case CONTROL.flowHardware:
      return { ...client, flow: 'rtscts' };
    case CONTROL.flowDcd:
    case CONTROL.flowDsr:
      return { ...client, flow: null };
    case CONTROL.breakOn:
    case CONTROL.breakOff:
      return { ...client, isBreaking: value === CONTROL.breakOn };
    case CONTROL.dtrOn:
    case CONTROL.dtrOff:
      return { ...client, signals: { ...signals, dtr: value === CONTROL.dtrOn } };
    case CONTROL.rtsOn:
    case CONTROL.rtsOff:
      return { ...client, signals: { ...signals, rts: value === CONTROL.rtsOn } };
    default:
      return client;
  }
}

function hearModemState(
  client: ComPortClient,
  value: number,
): { client: ComPortClient; events: ComPortClientEvent[] } {
  const told = {
    dcd: (value & MODEM_STATE.dcd) !== 0,
    ri: (value & MODEM_STATE.ri) !== 0,
    dsr: (value & MODEM_STATE.dsr) !== 0,
    cts: (value & MODEM_STATE.cts) !== 0,
  };
  const { signals } = client;
  const changed: SignalStates = Object.fromEntries(
    Object.entries(told).filter(([name, isOn]) => signals[name as keyof typeof told] !== isOn),
  );
  const isNews = Object.keys(changed).length > 0;
  return {
    client: { ...client, signals: { ...signals, ...told } },
    events: isNews ? [{ kind: 'signals', signals: changed }] : [],
  };
}

function lineStateEvents(value: number): ComPortClientEvent[] {
  const events: ComPortClientEvent[] = [];
  if (value & LINE_STATE.break) events.push({ kind: 'break' });
  for (const error of ['framing', 'parity', 'overrun'] as const) {
    if (value & LINE_STATE[error]) events.push({ kind: 'line-error', error });
  }
  return events;
}
