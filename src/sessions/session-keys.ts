import type { EscapeTable } from './escape-keys.ts';

/** What a key of ours does. */
export type SessionKey =
  | { do: PlainKey }
  /** An entry of the port's break list. */
  | { do: 'break-list'; key: string }
  | { do: 'replay'; lines: number }
  /** A character for the device that no keyboard sends, or that is one of ours. */
  | { do: 'type'; byte: number };

export type PlainKey =
  | ('leave' | 'help' | 'write' | 'force' | 'view' | 'who' | 'ports' | 'move' | 'break-keys')
  | ('reopen' | 'down' | 'details' | 'line' | 'motd' | 'message' | 'broadcast' | 'note' | 'pipe')
  | ('task' | 'prefix' | 'suspend' | 'logging');

/** conserver's, which are in people's fingers, and some that it lacks. Help follows this order. */
export const SESSION_KEYS: EscapeTable<SessionKey> = {
  '.': plain('leave', 'leave'),
  '?': plain('help', 'this list'),
  a: plain('write', 'attach: ask for write'),
  f: plain('force', 'force: take write over'),
  s: plain('view', 'spy: give write up and view'),
  w: plain('who', 'who is on this port'),
  u: plain('ports', 'all ports: state and writer'),
  ';': plain('move', 'move to another port'),
  r: { help: 'replay the last 20 lines', action: { do: 'replay', lines: 20 } },
  p: { help: 'replay the last 60 lines', action: { do: 'replay', lines: 60 } },
  '\x12': { help: 'replay the last line', action: { do: 'replay', lines: 1 } },
  l: {
    help: 'BREAK',
    next: {
      '0': { help: 'send BREAK', action: { do: 'break-list', key: '0' } },
      '?': plain('break-keys', 'the break list of this port; l and its key sends an entry'),
      ...Object.fromEntries(
        [...'123456789abcdefghijklmnopqrstuvwxyz'].map((key) => [
          key,
          { help: 'its entry', action: { do: 'break-list', key }, isSilent: true },
        ]),
      ),
    },
  },
  '!': plain('task', 'run a task of this port'),
  o: plain('reopen', 'open the port anew'),
  d: plain('down', 'take the port down'),
  i: plain('details', 'details of this port'),
  x: plain('line', 'line settings and signals'),
  m: plain('motd', 'message of the day'),
  M: plain('message', 'send a message to everybody on this port'),
  b: plain('broadcast', 'type at several ports at once, or stop it'),
  n: plain('note', 'write a note into the log'),
  '|': plain('pipe', 'connect a command of your machine to the port'),
  L: plain('logging', 'stop or resume logging'),
  e: plain('prefix', 'change the two keys that begin these'),
  z: plain('suspend', 'suspend'),
  '\\': {
    help: 'send the character of this octal code',
    keys: '\\ooo',
    next: octalDigits('0123', 3, 0),
  },
};

function plain(name: PlainKey, help: string): { help: string; action: SessionKey } {
  return { help, action: { do: name } };
}

function octalDigits(digits: string, left: number, before: number): EscapeTable<SessionKey> {
  return Object.fromEntries(
    [...digits].map((digit) => {
      const byte = before * 8 + Number(digit);
      const help = 'a character';
      const isLast = left === 1;
      return [
        digit,
        isLast
          ? { help, action: { do: 'type', byte } }
          : { help, next: octalDigits('01234567', left - 1, byte) },
      ];
    }),
  );
}
