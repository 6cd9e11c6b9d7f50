import * as z from 'zod';
import {
  address,
  busy,
  busyText,
  checkedText,
  cidrs,
  map,
  name,
  path,
  wholeNumber,
} from './shapes.ts';
import { isHost } from './units.ts';

const sshDefault = '127.0.0.1:8022';
const door = address(sshDefault);
const allow = cidrs.prefault([]).describe('Address blocks that may connect. Without any: all.');
const ssh = z
  .union(
    [
      z.literal('none'),
      door,
      map(
        'a map with address and allow',
        { address: door.describe('Where to listen, host:port.'), allow },
        ['tls'],
      ),
    ],
    { error: () => `host:port, such as ${sshDefault}, a map with address and allow, or none` },
  )
  .transform((value) => {
    if (value === 'none') return null;
    if ('address' in value) return { ...value.address, allow: value.allow };
    return { ...value, allow: [] };
  });

const base = wholeNumber(1, 65_534);
const baseText = 'Port n is at base + n.';
const host = checkedText('an IP address or host name', isHost)
  .prefault('127.0.0.1')
  .describe('Address to listen on.');
const tls = map('a map with cert, key and clientCa', {
  cert: path.describe('File with the certificate and those between it and its root, PEM.'),
  key: path.describe('File with its private key, PEM.'),
  clientCa: path
    .optional()
    .describe(
      'File with the authorities of client certificates, PEM. Without it none is asked for.',
    ),
}).meta({ id: 'tls', description: 'PEM files, read when a door opens and on reload.' });
/** What a door does before it lets anybody write; checked as a whole in listeners.ts. */
const programDoor = {
  allow,
  as: name
    .optional()
    .describe(
      'User whom everybody on this door is: required with `auth: none`; with `certificate` instead of the name in it.',
    ),
  busy: busy.default('view').describe(busyText),
  tls: tls.optional().describe('TLS: its certificate and key, and who signs those of clients.'),
};

const portSsh = map('a map with host, base and allow', {
  host,
  base: base.default(3000).describe(baseText),
  allow,
});

const telnetAuth = ['login', 'none', 'certificate'] as const;
const telnet = map('a map with host, base, alias, auth, allow, as, busy and tls', {
  host,
  base: base.default(2000).describe(baseText),
  alias: base.optional().describe('A second base for the same doors, such as 5000.'),
  auth: z
    .enum(telnetAuth, { error: () => 'login, none or certificate' })
    .default('login')
    .describe(
      '`login`: asks for login and password. `none`: everybody is the user `as`. `certificate`: the common name of the TLS client certificate is the user.',
    ),
  ...programDoor,
});

const raw = map('a map with host, base, auth, allow, as, busy and tls', {
  host,
  base: base.default(4000).describe(baseText),
  auth: z
    .enum(['none', 'certificate'], {
      error: () => 'none or certificate, as a raw door cannot ask for a login',
    })
    .describe(
      '`none`: there is no login, everybody is the user `as`. `certificate`: the common name of the TLS client certificate is the user.',
    ),
  ...programDoor,
});

const clients = wholeNumber(1, 100_000);
const caps = map('a map with connections and perSource', {
  connections: clients.default(1000).describe('Connections to one door at once.'),
  perSource: clients.default(64).describe('Of these from one source address.'),
});

export const listenSchema = map(
  'a map of listeners',
  {
    ssh: ssh
      .prefault(sshDefault)
      .describe('The SSH door: host:port, a map with address and allow, or `none`.'),
    'port-ssh': portSsh
      .optional()
      .describe('SSH to one port, a door for each port with n; closed unless configured.'),
    telnet: telnet
      .optional()
      .describe('Telnet and RFC 2217, a door for each port with n; closed unless configured.'),
    raw: raw.optional().describe('Raw TCP, a door for each port with n; closed unless configured.'),
    caps: caps.prefault({}).describe('How many clients a door takes.'),
  },
  ['web'],
);

export type ListenValue = z.output<typeof listenSchema>;
