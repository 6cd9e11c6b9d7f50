import { Buffer } from 'node:buffer';
import type { LineSettings, Parity } from '../core/line-settings.ts';
import { encodeSubnegotiation, SUBNEGOTIATION_BYTES_MAX } from './telnet.ts';
import { TELNET_OPTIONS } from './telnet-options.ts';

/** Who says a command: each has a number of its own for either side (RFC 2217 section 2). */
export type ComPortSide = 'client' | 'server';

/**
 * What one COM-PORT-OPTION sub-option says. Values are those of the wire: 0 asks for the value as it
 * is, and the server answers each set or question with the value as it then is.
 */
export type ComPortCommand =
  | LineCommand
  /** Empty: asks for the other side's. */
  | { kind: 'signature'; text: string }
  | { kind: 'control' | 'line-state-mask' | 'modem-state-mask' | 'purge'; value: number }
  /** From the server a notification; from the client, without a value, pyserial's question for one. */
  | { kind: 'line-state' | 'modem-state'; value: number | null }
  | { kind: 'suspend' | 'resume' };

/** A setting of the line, or the question for it. */
export type LineCommand =
  /** `isIos`: one byte that stands for a baud rate, as Cisco IOS has it, instead of four. */
  | { kind: 'baud'; value: number; isIos: boolean }
  | { kind: 'data-bits' | 'parity' | 'stop-bits'; value: number };

/** null: malformed, or a command that RFC 2217 does not have. Bytes too many are passed over. */
export function parseComPort(from: ComPortSide, bytes: Uint8Array): ComPortCommand | null {
  const code = bytes[0];
  if (code === undefined) return null;
  const kind = KINDS[code - (from === 'server' ? SERVER_OFFSET : 0)];
  const value = bytes[1] ?? null;
  switch (kind) {
    case undefined:
      return null;
    case 'signature':
      return { kind, text: Buffer.from(bytes.subarray(1)).toString('latin1') };
    case 'baud':
      if (bytes.length === 2) return { kind, value: value!, isIos: true };
      if (bytes.length < 5) return null;
      return { kind, value: Buffer.from(bytes).readUInt32BE(1), isIos: false };
    case 'suspend':
    case 'resume':
      return { kind };
    case 'line-state':
    case 'modem-state':
      return value === null && from === 'server' ? null : { kind, value };
    default:
      return value === null ? null : { kind, value };
  }
}

/** The whole subnegotiation, from IAC SB to IAC SE. */
export function encodeComPort(from: ComPortSide, command: ComPortCommand): Uint8Array {
  const code = KINDS.indexOf(command.kind) + (from === 'server' ? SERVER_OFFSET : 0);
  const body = Buffer.concat([Uint8Array.of(code), valueBytes(command)]);
  return encodeSubnegotiation(TELNET_OPTIONS.comPort, body);
}

/** SET-CONTROL (RFC 2217 section 3). */
export const CONTROL = {
  askFlow: 0,
  flowNone: 1,
  flowXonxoff: 2,
  flowHardware: 3,
  askBreak: 4,
  breakOn: 5,
  breakOff: 6,
  askDtr: 7,
  dtrOn: 8,
  dtrOff: 9,
  askRts: 10,
  rtsOn: 11,
  rtsOff: 12,
  askInboundFlow: 13,
  inboundFlowNone: 14,
  inboundFlowXonxoff: 15,
  inboundFlowHardware: 16,
  flowDcd: 17,
  inboundFlowDtr: 18,
  flowDsr: 19,
} as const;

/** What a SET-CONTROL value is about; a question and its answer are about the same. null: unknown. */
export function controlSubject(
  value: number,
): 'flow' | 'inbound-flow' | 'break' | 'dtr' | 'rts' | null {
  if (value <= CONTROL.flowHardware) return 'flow';
  if (value <= CONTROL.breakOff) return 'break';
  if (value <= CONTROL.dtrOff) return 'dtr';
  if (value <= CONTROL.rtsOff) return 'rts';
  if (value <= CONTROL.inboundFlowHardware) return 'inbound-flow';
  if (value === CONTROL.inboundFlowDtr) return 'inbound-flow';
  return value <= CONTROL.flowDsr ? 'flow' : null;
}

/** NOTIFY-LINESTATE: bits of a 16550's LSR that can be known behind a driver. */
export const LINE_STATE = { break: 16, framing: 8, parity: 4, overrun: 2 } as const;

/** NOTIFY-MODEMSTATE: a 16550's MSR. The trailing edge of RI counts, of the others both edges. */
export const MODEM_STATE = {
  dcd: 128,
  ri: 64,
  dsr: 32,
  cts: 16,
  dcdChanged: 8,
  riFell: 4,
  dsrChanged: 2,
  ctsChanged: 1,
} as const;

/** PURGE-DATA by its value, which begins at 1. */
export const PURGES = ['rx', 'tx', 'both'] as const;

/** SET-PARITY by its value, which begins at 1. */
export const PARITIES: readonly Parity[] = ['none', 'odd', 'even', 'mark', 'space'];

/** SET-STOPSIZE by its value, which begins at 1. */
export const STOP_BITS: readonly LineSettings['stopBits'][] = [1, 2, 1.5];

/**
 * Cisco IOS sends the baud rate as one byte, an index into a table of the drafts of RFC 2217; facts
 * from ser2net (`cisco_ios_baud_rates`), which has met it.
 */
export function baudOfIos(index: number): number | null {
  return IOS_BAUDS[index - IOS_BAUD_FIRST] ?? null;
}

/** 0, which IOS uses for "unknown", where the table has no such rate. */
export function iosOfBaud(baud: number): number {
  const index = IOS_BAUDS.indexOf(baud);
  return index < 0 ? 0 : index + IOS_BAUD_FIRST;
}

const SERVER_OFFSET = 100;

/** By code; the server's are 100 higher. */
const KINDS: readonly ComPortCommand['kind'][] = [
  'signature',
  'baud',
  'data-bits',
  'parity',
  'stop-bits',
  'control',
  'line-state',
  'modem-state',
  'suspend',
  'resume',
  'line-state-mask',
  'modem-state-mask',
  'purge',
];

const IOS_BAUD_FIRST = 3;
const IOS_BAUDS: readonly number[] = [
  300, 600, 1_200, 2_400, 4_800, 9_600, 14_400, 19_200, 28_800, 38_400, 57_600, 115_200, 230_400,
  460_800,
];

function valueBytes(command: ComPortCommand): Uint8Array {
  switch (command.kind) {
    case 'signature':
      return Buffer.from(command.text, 'latin1').subarray(0, SUBNEGOTIATION_BYTES_MAX - 1);
    case 'baud': {
      if (command.isIos) return Uint8Array.of(command.value);
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(command.value);
      return bytes;
    }
    case 'suspend':
    case 'resume':
      return new Uint8Array(0);
    default:
      return command.value === null ? new Uint8Array(0) : Uint8Array.of(command.value);
  }
}
