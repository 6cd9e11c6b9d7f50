import { randomBytes } from 'node:crypto';
import { flood, type HostileConduct } from './hostile-client.ts';

export interface TelnetAttack {
  what: string;
  conduct(): HostileConduct;
  /** It is to be ended for it; else it may go on, as long as nobody else is disturbed. */
  isCut: boolean;
}

const [IAC, SE, AYT, SB, WILL, DO] = [255, 240, 246, 250, 251, 253];
const [ECHO, TERMINAL_TYPE, WINDOW_SIZE, COM_PORT] = [1, 24, 31, 44];

/** What anybody can say to a telnet door. */
export const TELNET_ATTACKS: readonly TelnetAttack[] = [
  {
    what: 'random bytes',
    conduct: () => ({ sends: Array.from({ length: 100 }, () => randomBytes(65_536)), stays: true }),
    isCut: true,
  },
  {
    what: 'nothing but IAC WILL',
    conduct: () => ({ sends: flood(Uint8Array.of(IAC, WILL, 99), 8e6), stays: true }),
    isCut: true,
  },
  {
    what: 'options on and off',
    conduct: () => ({
      sends: flood(Uint8Array.of(IAC, DO, ECHO, IAC, DO + 1, ECHO), 8e6),
      stays: true,
    }),
    isCut: true,
  },
  {
    what: 'nothing but IAC AYT',
    conduct: () => ({ sends: flood(Uint8Array.of(IAC, AYT), 8e6), stays: true }),
    isCut: true,
  },
  {
    what: 'sub-options too long',
    conduct: () => ({
      sends: flood(
        Buffer.concat([Uint8Array.of(IAC, SB, TERMINAL_TYPE), Buffer.alloc(600), TAIL]),
        8e6,
      ),
      stays: true,
    }),
    isCut: true,
  },
  {
    what: 'commands that there are none of',
    conduct: () => ({ sends: flood(Uint8Array.of(IAC, 1), 8e6), stays: true }),
    isCut: true,
  },
  {
    what: 'a sub-option without an end',
    conduct: () => ({
      sends: [Uint8Array.of(IAC, SB, TERMINAL_TYPE), ...flood(Buffer.alloc(65_536, 'x'), 128e6)],
    }),
    isCut: false,
  },
  {
    what: 'sizes of a window without an end',
    conduct: () => ({
      sends: flood(Uint8Array.of(IAC, SB, WINDOW_SIZE, 0, 80, 0, 24, IAC, SE), 8e6),
    }),
    isCut: false,
  },
  {
    what: 'whatever it hears',
    conduct: () => ({
      sends: [Uint8Array.of(IAC, DO, ECHO, IAC, WILL, ECHO)],
      isMirror: true,
    }),
    isCut: false,
  },
];

/** What a program may say at a port once it is logged in: RFC 2217. */
export const COM_PORT_ATTACKS: readonly TelnetAttack[] = [
  {
    what: 'requests that there are none of',
    conduct: () => ({ sends: [AGREE, ...flood(request(99, 1, 2, 3), 8e6)], stays: true }),
    isCut: true,
  },
  {
    what: 'requests of the wrong length',
    conduct: () => ({ sends: [AGREE, ...flood(request(2), 8e6)], stays: true }),
    isCut: true,
  },
  {
    what: 'random requests',
    conduct: () => ({
      sends: [
        AGREE,
        ...Array.from({ length: 2_000 }, () =>
          request(...randomBytes(1 + Math.trunc(Math.random() * 20))),
        ),
      ],
      stays: true,
    }),
    isCut: true,
  },
  {
    what: 'baud rates of 0 and 4 GB',
    conduct: () => ({
      sends: [
        AGREE,
        ...flood(Buffer.concat([request(1, 0, 0, 0, 0), request(1, 255, 255, 255, 255)]), 16_000),
      ],
    }),
    isCut: false,
  },
  {
    what: 'who are you, and does not listen',
    conduct: () => ({
      sends: [AGREE, ...flood(request(SIGNATURE), 64e6)],
      isDeaf: true,
      stays: true,
    }),
    isCut: true,
  },
];

/** Of all questions the one with the longest answer. */
const SIGNATURE = 0;
const TAIL = Uint8Array.of(IAC, SE);
const AGREE = Uint8Array.of(IAC, WILL, COM_PORT);

function request(...bytes: readonly number[]): Uint8Array {
  const doubled = bytes.flatMap((byte) => (byte === IAC ? [IAC, IAC] : [byte]));
  return Uint8Array.of(IAC, SB, COM_PORT, ...doubled, IAC, SE);
}
