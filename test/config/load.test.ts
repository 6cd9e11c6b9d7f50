import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { findConfig } from '../../src/config/find.ts';
import { dataDirectoryIn, loadConfig } from '../../src/config/load.ts';
import { Fault } from '../../src/core/fault.ts';
import { parseAuthorizedKey } from '../../src/auth/ssh-keys.ts';
import { parseTotpSecret } from '../../src/auth/totp.ts';
import { NO_PACE } from '../../src/core/settings.ts';
import { DEFAULT_ESCAPE } from '../../src/core/user.ts';
import { ECDSA_KEY, ED25519_KEY, RSA_KEY } from '../auth/public-keys.ts';
import { settingsOf } from './support.ts';

const PASSWORD_HASH = `$scrypt$ln=15,r=8,p=1$${'A'.repeat(22)}$${'B'.repeat(43)}`;
/** base32 of "a secret of 20 bytes". */
const TOTP_SECRET = 'MEQHGZLDOJSXIIDPMYQDEMBAMJ4XIZLT';

function packageRoot(directory = import.meta.dirname): string {
  return existsSync(join(directory, 'package.json')) ? directory : packageRoot(dirname(directory));
}

describe('loadConfig', () => {
  it('fills in the defaults of an empty file', () => {
    assert.deepEqual(settingsOf(''), {
      files: ['/etc/fairlead/fairlead.yaml'],
      data: '/var/lib/fairlead',
      listen: {
        ssh: { host: '127.0.0.1', tcpPort: 8022, allow: [] },
        portSsh: null,
        telnet: null,
        raw: null,
        caps: { connectionsMax: 1000, perSourceMax: 64 },
      },
      users: [],
      roles: {},
      ports: [],
      autoPorts: [],
      banner: null,
      certificates: { authorities: [], revokedFile: null },
      markMs: null,
      log: { codec: 'brotli', spoolBytes: 33_554_432 },
    });
  });

  it('loads the example that is shipped', () => {
    const path = join(packageRoot(), 'config/fairlead.example.yaml');
    const { settings, problems } = loadConfig(path, { verbs: ['log', 'check'] });
    assert.deepEqual(problems, []);
    assert.deepEqual(settings.files, [path]);
    assert.deepEqual(
      settings.ports.map((port) => `${port.n} ${port.name} ${port.backend.kind} ${port.line.baud}`),
      [
        '1 db1 device 115200',
        '2 sw1 tcp 9600',
        '3 vm3 unix 115200',
        '4 vm4 exec 115200',
        '5 esp1 device 115200',
        '6 sw2 rfc2217 9600',
        '7 xen1 device 115200',
        '8 xen1-console split 115200',
        '9 xen1-debug split 115200',
        '10 vm5 udp 115200',
      ],
    );
    assert.equal(settings.markMs, 3_600_000);
  });

  it('loads the example with everything that is commented out in it', () => {
    const text = readFileSync(join(packageRoot(), 'config/fairlead.example.yaml'), 'utf8');
    const keys =
      'banner|raw|keysFile|passwordFile|totpFile|principals|escape|lab|certificates|power|expose|idle|autoPorts';
    const commented = new RegExp(`^( *)# ((?:${keys}): .*)$`, 'gm');
    assert.equal(text.match(commented)?.length, keys.split('|').length);
    const settings = settingsOf({
      'fairlead.yaml': text.replaceAll(commented, '$1$2'),
      'bob.pub': `${RSA_KEY} bob\n`,
      'bob.password': PASSWORD_HASH,
      'bob.totp': `${TOTP_SECRET}\n`,
      'ca.pub': `${ED25519_KEY} ca\n`,
    });
    const [db1, , vm3] = settings.ports;
    const bob = settings.users.find(({ name }) => name === 'bob');
    assert.equal(settings.listen.raw?.as, 'lab');
    assert.equal(settings.listen.telnet?.aliasBase, 5000);
    assert.equal(bob?.keys.length, 2);
    assert.deepEqual([bob.totp, bob.principals], [TOTP_SECRET, ['rack3-operators']]);
    assert.deepEqual(bob.escape, [0x0f, 0x63]);
    assert.deepEqual(settings.certificates, {
      authorities: [`${ED25519_KEY} ca`],
      revokedFile: '/etc/fairlead/revoked.krl',
    });
    assert.deepEqual(db1?.power?.off, ['pdu', 'off', '7']);
    assert.equal(db1?.expose?.mode, 0o660);
    assert.equal(vm3?.idle?.afterMs, 600_000);
    assert.equal(settings.autoPorts[0]?.port.group, 'lab');
    assert.deepEqual(
      db1?.tasks.map(({ name, breakKey, confirm }) => [name, breakKey, confirm]),
      [
        ['reset-board', 'b', true],
        ['sysrq-sync', null, false],
        ['break-0', '0', false],
        ['break-1', '1', false],
        ['break-2', '2', false],
      ],
    );
  });

  it('reads every backend', () => {
    const { ports } = settingsOf(`
ports:
  a: { device: ./pty, signals: { dtr: on, rts: false } }
  b: { tcp: "[2001:db8::1]:5001" }
  c: { unix: /run/c.sock }
  d: { exec: [virsh, console, vm1] }
  e: { exec: { command: [virsh, console, vm1], on: pipe } }
  f: { exec: { command: [run] } }
  g: { pty: /dev/pts/1 }
  h: { pty: { command: [virsh, ttyconsole, vm1] } }
  i: { match: { vendor: "0403", product: "0xABCD", serial: FT1, interface: 1, usbPath: 1-1.2 } }
  j: { sim: linux }
  k: { sim: { machine: router, seed: 7, speed: 2.5 } }
`);
    const command = ['virsh', 'console', 'vm1'];
    assert.deepEqual(
      ports.map((port) => port.backend),
      [
        {
          kind: 'device',
          path: '/etc/fairlead/pty',
          match: null,
          signals: { dtr: true, rts: false },
          rs485: null,
        },
        { kind: 'tcp', host: '2001:db8::1', tcpPort: 5001, tls: null },
        { kind: 'unix', path: '/run/c.sock' },
        { kind: 'exec', command, on: 'pty' },
        { kind: 'exec', command, on: 'pipe' },
        { kind: 'exec', command: ['run'], on: 'pty' },
        { kind: 'pty', path: '/dev/pts/1', command: null },
        { kind: 'pty', path: null, command: ['virsh', 'ttyconsole', 'vm1'] },
        {
          kind: 'device',
          path: null,
          match: {
            vendor: '0403',
            product: 'abcd',
            serial: 'FT1',
            interface: 1,
            usbPath: '1-1.2',
          },
          signals: {},
          rs485: null,
        },
        { kind: 'sim', machine: 'linux', seed: 1, speed: 1 },
        { kind: 'sim', machine: 'router', seed: 7, speed: 2.5 },
      ],
    );
  });

  it('reads TLS towards servers, with paths of the file it stands in', () => {
    const { ports } = settingsOf({
      'fairlead.yaml': `
include: [d/more.yaml]
ports:
  a: { tcp: "h:1", tls: true }
  b: { telnet: "h:2", tls: false }
  c: { rfc2217: "h:3", tls: { serverName: console.example }, signals: { dtr: off } }
`,
      'd/more.yaml':
        'ports: { d: { tcp: "h:4", tls: { ca: ca.pem, cert: /c.pem, key: ../k.pem } } }\n',
    });
    const none = { ca: null, cert: null, key: null, serverName: null };
    assert.deepEqual(
      ports.map((port) => port.backend),
      [
        { kind: 'tcp', host: 'h', tcpPort: 1, tls: none },
        { kind: 'telnet', host: 'h', tcpPort: 2, tls: null },
        {
          kind: 'rfc2217',
          host: 'h',
          tcpPort: 3,
          tls: { ...none, serverName: 'console.example' },
          signals: { dtr: false },
        },
        {
          kind: 'tcp',
          host: 'h',
          tcpPort: 4,
          tls: {
            ca: '/etc/fairlead/d/ca.pem',
            cert: '/c.pem',
            key: '/etc/fairlead/k.pem',
            serverName: null,
          },
        },
      ],
    );
  });

  it('reads the half-duplex of a device, also from its profile', () => {
    const { ports } = settingsOf(`
profiles: { bus: { rs485: { before: 1ms, after: 100ms } } }
ports:
  a: { device: /dev/ttyS0, rs485: true }
  b: { device: /dev/ttyS1, profile: bus }
  c: { device: /dev/ttyS2, profile: bus, rs485: false }
  d: { match: { serial: x }, rs485: { rtsOnSend: low, hearsItself: true } }
  e: { tcp: "h:1", profile: bus }
`);
    const rs485 = ports.map(({ backend }) => ('rs485' in backend ? backend.rs485 : undefined));
    const plain = { rtsOnSend: true, delayBeforeMs: 0, delayAfterMs: 0, hearsItself: false };
    assert.deepEqual(rs485, [
      plain,
      { ...plain, delayBeforeMs: 1, delayAfterMs: 100 },
      null,
      { ...plain, rtsOnSend: false, hearsItself: true },
      undefined,
    ]);
  });

  it('reads UDP sources, which may share a socket', () => {
    const { ports } = settingsOf(`
ports:
  a: { udp: { listen: "0.0.0.0:666", from: 10.0.0.7, sourcePort: 1001 } }
  b: { udp: { listen: "0.0.0.0:666", from: [10.0.0.7], sourcePort: 1002, format: netconsole } }
  rest: { udp: { listen: "0.0.0.0:666", from: [10.0.0.0/8, "2001:db8::/32"] } }
  c: { udp: { listen: "[0::1]:667", from: "::/0" } }
  d: { tcp: "0.0.0.0:666" }
`);
    const listen = { host: '0.0.0.0', udpPort: 666 };
    const a = {
      kind: 'udp',
      listen,
      from: ['10.0.0.7'],
      sourcePort: 1001,
      format: 'plain',
    };
    assert.deepEqual(
      ports.slice(0, 4).map((port) => port.backend),
      [
        a,
        { ...a, sourcePort: 1002, format: 'netconsole' },
        { ...a, from: ['10.0.0.0/8', '2001:db8::/32'], sourcePort: null },
        { ...a, listen: { host: '::1', udpPort: 667 }, from: ['::/0'], sourcePort: null },
      ],
    );
  });

  it('makes ports for sources that no port claims, as the defaults and a profile say', () => {
    const { autoPorts } = settingsOf(`
motd: all
defaults: { line: 9600, input: full, tasks: { t: [1s] } }
profiles: { nc: { group: kernels, writers: many, motd: nc } }
ports: { a: { udp: { listen: "10.0.0.1:6666", from: 10.0.0.7 } } }
autoPorts:
  - { udp: "10.0.0.1:6666", from: 10.0.0.0/8 }
  - udp: "[::]:6667"
    from: [10.0.0.0/8, "::/0"]
    format: plain
    max: 2
    prefix: log-
    profile: NC
    input: none
    tasks: { u: [2s] }
`);
    const [first, second] = autoPorts;
    assert.deepEqual(first, {
      listen: { host: '10.0.0.1', udpPort: 6666 },
      from: ['10.0.0.0/8'],
      format: 'netconsole',
      portsMax: 32,
      prefix: 'nc-',
      port: {
        group: null,
        line: { baud: 9600, dataBits: 8, parity: 'none', stopBits: 1 },
        flow: 'none',
        input: 'full',
        latency: 'normal',
        writers: 'one',
        pace: NO_PACE,
        restoreLine: false,
        onOpen: [],
        onDetach: [],
        idle: null,
        idleTimeoutMs: null,
        motd: 'all',
        tasks: first!.port.tasks,
        power: null,
        expose: null,
      },
    });
    assert.deepEqual(
      [second?.listen, second?.format, second?.portsMax, second?.prefix],
      [{ host: '::', udpPort: 6667 }, 'plain', 2, 'log-'],
    );
    const { group, writers, motd, input } = second!.port;
    assert.deepEqual([group, writers, motd, input], ['kernels', 'many', 'all\nnc', 'none']);
    assert.deepEqual(
      autoPorts.map(({ port }) => port.tasks.map(({ name }) => name)),
      [['t'], ['t', 'u']],
    );
  });

  it('gives the parts of a line its name and its settings', () => {
    const { ports } = settingsOf(`
defaults: { line: 300 }
ports:
  pdb: { split: { of: COM1, half: high } }
  xen: { device: /dev/ttyS0, aliases: [com1], line: 57600, flow: rtscts }
  console: { split: { of: Xen, half: low }, group: g }
  vm: { tcp: "h:1", line: 9600 7E1 }
  gdb: { split: { of: vm, gdb: true } }
  say: { split: { of: vm, gdb: false } }
`);
    const parts = ports.filter(({ backend }) => backend.kind === 'split');
    assert.deepEqual(
      parts.map(({ name, backend, line, flow }) => ({ name, backend, baud: line.baud, flow })),
      [
        ['pdb', 'xen', 'high', 57_600, 'rtscts'],
        ['console', 'xen', 'low', 57_600, 'rtscts'],
        ['gdb', 'vm', 'gdb', 9600, 'none'],
        ['say', 'vm', 'console', 9600, 'none'],
      ].map(([name, of, part, baud, flow]) => ({
        name,
        backend: { kind: 'split', of, part },
        baud,
        flow,
      })),
    );
    assert.equal(parts[1]?.group, 'g');
  });

  it('reads the pace of typed input, as a whole from the nearest place', () => {
    const { ports } = settingsOf(`
defaults: { pace: { byte: 1ms, newline: cr } }
profiles: { slow: { pace: { byte: 5ms, line: 1.5s } } }
ports:
  a: { tcp: "h:1" }
  b: { tcp: "h:2", profile: slow }
  c: { tcp: "h:3", profile: slow, pace: none }
  d: { tcp: "h:4", pace: { newline: crlf } }
`);
    assert.deepEqual(
      ports.map(({ pace }) => pace),
      [
        { byteMs: 1, lineMs: 0, newline: 'cr' },
        { byteMs: 5, lineMs: 1500, newline: 'as-is' },
        { byteMs: 0, lineMs: 0, newline: 'as-is' },
        { byteMs: 0, lineMs: 0, newline: 'crlf' },
      ],
    );
  });

  it('takes a reset for the task of that name: the nearest, or none', () => {
    const { ports } = settingsOf(`
defaults: { reset: [dtr=off, 100ms, dtr=on] }
profiles: { esp: { reset: [dtr=off rts=on, 100ms, rts=off] } }
ports:
  a: { tcp: "h:1" }
  b: { tcp: "h:2", profile: esp }
  c: { tcp: "h:3", reset: none }
  d: { tcp: "h:4", profile: esp, tasks: { Reset: { help: by hand, confirm: true, steps: [break] } } }
`);
    const resets = ports.map(({ tasks }) => tasks);
    const wait = { do: 'wait', durationMs: 100 };
    const task = { name: 'reset', help: null, breakKey: null, confirm: false };
    assert.deepEqual(resets, [
      [
        {
          ...task,
          steps: [
            { do: 'signals', signals: { dtr: false } },
            wait,
            { do: 'signals', signals: { dtr: true } },
          ],
        },
      ],
      [
        {
          ...task,
          steps: [
            { do: 'signals', signals: { dtr: false, rts: true } },
            wait,
            { do: 'signals', signals: { rts: false } },
          ],
        },
      ],
      [],
      [
        {
          name: 'Reset',
          help: 'by hand',
          breakKey: null,
          confirm: true,
          steps: [{ do: 'break', durationMs: 300 }],
        },
      ],
    ]);
  });

  it('takes line settings in every spelling, the baud rate as a number too', () => {
    const lines = ['"115200 8N1"', '"115200,8n1"', '9600n81', '9600', '"19200 7e1"'];
    const ports = lines.map((line, i) => `  p${i}: { tcp: "h:${i}", line: ${line} }`).join('\n');
    assert.deepEqual(
      settingsOf(`ports:\n${ports}\n`).ports.map(({ line }) => Object.values(line).join(' ')),
      ['115200 8 none 1', '115200 8 none 1', '9600 8 none 1', '9600 8 none 1', '19200 7 even 1'],
    );
  });

  it('puts a port before its profile, that before what it builds on, that before the defaults', () => {
    const { ports } = settingsOf(`
defaults: { line: 1200, flow: xonxoff, input: full, latency: low, writers: many }
profiles:
  base: { line: 2400, flow: rtscts, group: lab, input: none }
  top: { profile: BASE, line: 4800, flow: none, signals: { dtr: off } }
ports:
  plain: { tcp: "h:1" }
  shaped: { device: /dev/ttyS0, profile: Top, line: 9600, latency: normal }
`);
    const [plain, shaped] = ports;
    assert.deepEqual(
      [plain?.line.baud, plain?.flow, plain?.input, plain?.latency, plain?.writers, plain?.group],
      [1200, 'xonxoff', 'full', 'low', 'many', null],
    );
    assert.deepEqual(
      [shaped?.line.baud, shaped?.flow, shaped?.input, shaped?.latency, shaped?.writers],
      [9600, 'none', 'none', 'normal', 'many'],
    );
    assert.equal(shaped?.group, 'lab');
    assert.deepEqual(shaped?.backend, {
      kind: 'device',
      path: '/dev/ttyS0',
      match: null,
      signals: { dtr: false },
      rs485: null,
    });
  });

  it('reads doors', () => {
    const text = `
listen:
  ssh: { address: "0.0.0.0:22", allow: [10.0.0.0/8] }
  port-ssh: { host: 10.0.0.1, base: 9000, allow: [10.0.0.0/8] }
  telnet:
    host: 10.0.0.1
    base: 6000
    alias: 5000
    auth: certificate
    allow: [10.0.0.0/8]
    busy: takeover
    tls: { cert: tls/c.pem, key: /k.pem, clientCa: ca.pem }
  raw: { host: 10.0.0.1, base: 7000, auth: none, allow: [10.0.0.0/8], as: lab, busy: refuse, tls: { cert: c.pem, key: k.pem } }
  caps: { connections: 200, perSource: 8 }
users: { lab: { role: view } }
`;
    assert.deepEqual(settingsOf(text).listen, {
      ssh: { host: '0.0.0.0', tcpPort: 22, allow: ['10.0.0.0/8'] },
      portSsh: { host: '10.0.0.1', base: 9000, allow: ['10.0.0.0/8'] },
      telnet: {
        host: '10.0.0.1',
        base: 6000,
        aliasBase: 5000,
        auth: 'certificate',
        allow: ['10.0.0.0/8'],
        as: null,
        busy: 'takeover',
        tls: {
          cert: '/etc/fairlead/tls/c.pem',
          key: '/k.pem',
          clientCa: '/etc/fairlead/ca.pem',
        },
      },
      raw: {
        host: '10.0.0.1',
        base: 7000,
        auth: 'none',
        allow: ['10.0.0.0/8'],
        as: 'lab',
        busy: 'refuse',
        tls: { cert: '/etc/fairlead/c.pem', key: '/etc/fairlead/k.pem', clientCa: null },
      },
      caps: { connectionsMax: 200, perSourceMax: 8 },
    });
    assert.equal(settingsOf('listen: { ssh: none }').listen.ssh, null);
  });

  it('gives each door its defaults', () => {
    const text = `
listen:
  port-ssh: {}
  telnet: {}
  raw: { auth: none, allow: [127.0.0.1], as: lab }
users: { lab: { role: view } }
`;
    const { portSsh, telnet, raw } = settingsOf(text).listen;
    assert.deepEqual(portSsh, { host: '127.0.0.1', base: 3000, allow: [] });
    assert.deepEqual(telnet, {
      host: '127.0.0.1',
      base: 2000,
      aliasBase: null,
      auth: 'login',
      allow: [],
      as: null,
      busy: 'view',
      tls: null,
    });
    assert.deepEqual(
      [raw?.host, raw?.base, raw?.busy, raw?.tls],
      ['127.0.0.1', 4000, 'view', null],
    );
  });

  it('reads what is said before login and on attach, without the line end of a block', () => {
    const settings = settingsOf(`
banner: |
  Authorized use only.
  \tZürich

motd: global
defaults: { motd: default }
profiles: { p: { motd: "of the profile\\n\\n" }, quiet: { motd: none } }
ports:
  a: { tcp: "h:1" }
  b: { tcp: "h:2", profile: p }
  c: { tcp: "h:3", profile: p, motd: own }
  d: { tcp: "h:4", profile: quiet }
`);
    assert.equal(settings.banner, 'Authorized use only.\n\tZürich');
    assert.deepEqual(
      settings.ports.map(({ motd }) => motd),
      ['global\ndefault', 'global\nof the profile', 'global\nown', 'global'],
    );
    assert.equal(settingsOf('motd: ""\nports: { a: { tcp: "h:1" } }').ports[0]?.motd, null);
  });

  it('reads what is done to a line when something happens', () => {
    const { ports } = settingsOf(`
defaults: { restoreLine: true, onOpen: { send: d }, idleTimeout: 30m, idle: { after: 1h, send: d } }
profiles: { p: { onDetach: { dropDtr: 500ms }, onOpen: [dtr=off, 1s, "rts=on, dtr=on"] } }
ports:
  a: { tcp: "h:1" }
  b: { tcp: "h:2", profile: p, restoreLine: false, idleTimeout: none, idle: none }
  c: { tcp: "h:3", profile: p, onOpen: none, onDetach: nothing, idle: { after: 1.5s, steps: [break] } }
  d: { tcp: "h:4", onDetach: { send: "exit\\r" } }
  e: { tcp: "h:5", onDetach: [{ send: exit\\x0d }, 250ms, break 1s] }
`);
    const [a, b, c, d, e] = ports;
    const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
    assert.deepEqual(
      [a?.restoreLine, a?.onOpen, a?.onDetach, a?.idle, a?.idleTimeoutMs],
      [
        true,
        [{ do: 'send', bytes: bytes('d') }],
        [],
        { afterMs: 3_600_000, steps: [{ do: 'send', bytes: bytes('d') }] },
        1_800_000,
      ],
    );
    assert.deepEqual([b?.restoreLine, b?.idle, b?.idleTimeoutMs], [false, null, null]);
    assert.deepEqual(b?.onOpen, [
      { do: 'signals', signals: { dtr: false } },
      { do: 'wait', durationMs: 1000 },
      { do: 'signals', signals: { rts: true, dtr: true } },
    ]);
    assert.deepEqual(b?.onDetach, [
      { do: 'signals', signals: { dtr: false } },
      { do: 'wait', durationMs: 500 },
      { do: 'signals', signals: { dtr: true } },
    ]);
    assert.deepEqual([c?.onOpen, c?.onDetach], [[], []]);
    assert.deepEqual(c?.idle, { afterMs: 1500, steps: [{ do: 'break', durationMs: 300 }] });
    assert.deepEqual(d?.onDetach, [{ do: 'send', bytes: bytes('exit\r') }]);
    assert.deepEqual(e?.onDetach, [
      { do: 'send', bytes: bytes('exit\r') },
      { do: 'wait', durationMs: 250 },
      { do: 'break', durationMs: 1000 },
    ]);
  });

  it('sends what YAML and the escapes of a text stand for', () => {
    const texts = [
      '"a\\r\\e\\x01"', // a text in which YAML reads the escapes
      "'a\\r\\n\\t\\e\\\\\\x00\\xFF'", // one in which we do
      'é😀',
    ];
    const tasks = texts.map((text, index) => `  t${index}: [{ send: ${text} }]\n`).join('');
    const [port] = settingsOf(`tasks:\n${tasks}ports: { a: { tcp: "h:1" } }`).ports;
    const sent = port?.tasks.flatMap(({ steps }) =>
      steps.map((step) => (step.do === 'send' ? Buffer.from(step.bytes).toString('latin1') : '')),
    );
    assert.deepEqual(sent, [
      'a\r\x1b\x01',
      'a\r\n\t\x1b\\\x00\xff',
      Buffer.from('é😀').toString('latin1'),
    ]);
  });

  it('takes tasks from the file, the defaults, the profiles and the port: the nearest of a name', () => {
    const { ports } = settingsOf(`
tasks:
  reset: { help: resets, confirm: true, key: b, steps: [break] }
  gone: [1s]
  Same: [1s]
breaks: { 0: [break 500ms], z: [1ms] }
defaults: { tasks: { same: [2s] }, breaks: { 1: [break] } }
profiles:
  base: { tasks: { own: { key: 2, steps: [3s] } } }
  top: { profile: base, tasks: { gone: none, SAME: [4s] }, breaks: { z: none } }
ports:
  a: { tcp: "h:1" }
  b: { tcp: "h:2", profile: top, tasks: { own: [5s], more: [60s] }, breaks: { 0: none, 2: [6s] } }
`);
    const shown = ports.map(({ tasks }) =>
      tasks.map(({ name, breakKey, steps: [step] }) =>
        [name, breakKey, 'durationMs' in step! ? step.durationMs : null].join(' '),
      ),
    );
    assert.deepEqual(shown, [
      ['reset b 300', 'gone  1000', 'same  2000', 'break-0 0 500', 'break-z z 1', 'break-1 1 300'],
      ['reset b 300', 'SAME  4000', 'break-1 1 300', 'own  5000', 'more  60000', 'break-2 2 6000'],
    ]);
    assert.deepEqual(ports[0]?.tasks[0], {
      name: 'reset',
      help: 'resets',
      confirm: true,
      breakKey: 'b',
      steps: [{ do: 'break', durationMs: 300 }],
    });
    assert.deepEqual([ports[0].tasks[1]?.help, ports[0].tasks[1]?.confirm], [null, false]);
  });

  it('reads power outlets and exposed ptys', () => {
    const { ports } = settingsOf(`
users: { lab: { role: view } }
ports:
  a: { tcp: "h:1", power: { cycle: [pdu, cycle, "7"], status: [pdu, show] }, expose: ./a }
  b: { tcp: "h:2", expose: { path: /run/b, mode: "0660", group: dialout, as: lab, busy: refuse } }
  c: { tcp: "h:3", expose: { path: /run/c, mode: "640" } }
`);
    const [a, b, c] = ports;
    const cycle = ['pdu', 'cycle', '7'];
    assert.deepEqual(a?.power, { on: null, off: null, cycle, status: ['pdu', 'show'] });
    assert.equal(b?.power, null);
    assert.deepEqual(
      [a?.expose, b?.expose, c?.expose?.mode],
      [
        { path: '/etc/fairlead/a', mode: 0o600, group: null, as: null, busy: 'view' },
        { path: '/run/b', mode: 0o660, group: 'dialout', as: 'lab', busy: 'refuse' },
        0o640,
      ],
    );
  });

  it('reads certificates, one-time codes and the keys of sessions', () => {
    const { users, certificates } = settingsOf({
      'fairlead.yaml': `
certificates: { authorities: ["${ED25519_KEY} one"], authoritiesFile: ca.pub, revokedFile: k/revoked }
users:
  a: { role: view, password: "${PASSWORD_HASH}", totp: ${TOTP_SECRET}, principals: [ops, a b@c] }
  b: { role: view, passwordFile: b.pw, totpFile: b.totp, escape: none }
  c: { role: view, escape: "^]^]" }
  d: { role: view, escape: "\\x1c." }
  e: { role: view, escape: ^e^ }
`,
      'ca.pub': `# two\n${RSA_KEY}\n${ECDSA_KEY} three\n`,
      'b.pw': PASSWORD_HASH,
      'b.totp': `${TOTP_SECRET.toLowerCase().replace(/.{4}/g, '$& ')}\n`,
    });
    assert.deepEqual(certificates, {
      authorities: [`${ED25519_KEY} one`, RSA_KEY, `${ECDSA_KEY} three`],
      revokedFile: '/etc/fairlead/k/revoked',
    });
    assert.deepEqual(
      users.map(({ totp }) => totp && parseTotpSecret(totp)?.toString()),
      ['a secret of 20 bytes', 'a secret of 20 bytes', null, null, null],
    );
    assert.deepEqual(users[0]?.principals, ['ops', 'a b@c']);
    assert.deepEqual(
      users.map(({ escape }) => escape),
      [DEFAULT_ESCAPE, null, [0x1d, 0x1d], [0x1c, 0x2e], [0x05, 0x5e]],
    );
  });

  it('reads users with keys and passwords from files beside the configuration', () => {
    const { users, roles } = settingsOf({
      'fairlead.yaml': `
roles: { auditor: [view, tx] }
users:
  alice: { role: admin, keys: ["${ED25519_KEY} a"], keysFile: keys/alice.pub, passwordFile: /run/pw }
  bob: { role: auditor, ports: ["*"], unix: bob, from: [10.0.0.0/8, "::1"] }
`,
      'keys/alice.pub': `# two\n\n${RSA_KEY} on a card\n`,
      '/run/pw': `${PASSWORD_HASH}\n`,
    });
    assert.deepEqual(users, [
      {
        name: 'alice',
        role: 'admin',
        ports: [],
        keys: [`${ED25519_KEY} a`, `${RSA_KEY} on a card`],
        password: PASSWORD_HASH,
        unix: null,
        from: [],
        totp: null,
        principals: [],
        escape: [5, 99],
      },
      {
        name: 'bob',
        role: 'auditor',
        ports: ['*'],
        keys: [],
        password: null,
        unix: 'bob',
        from: ['10.0.0.0/8', '::1'],
        totp: null,
        principals: [],
        escape: [5, 99],
      },
    ]);
    for (const key of users[0]!.keys) parseAuthorizedKey(key);
    assert.deepEqual(roles, { auditor: ['view', 'tx'] });
  });

  it('reads included files in order, each once, with paths relative to each', () => {
    const settings = settingsOf({
      'fairlead.yaml': `include: [ports.d/*.yaml, "none.d/*.yaml", ports.d/b.yaml]\nports: { m: { tcp: "h:1" } }\ndata: data\n`,
      'ports.d/b.yaml': 'ports: { b: { unix: ./b.sock, profile: p } }\n',
      'ports.d/a.yaml': 'include: [more/c.yaml]\nprofiles: { p: { line: 300 } }\n',
      'ports.d/more/c.yaml':
        'ports: { c: { unix: ../c.sock, group: g } }\nusers: { u: { role: view, ports: ["@g"], unix: u } }\n',
      'ports.d/.hidden.yaml': 'rubbish: yes\n',
      'ports.d/notes.txt': 'rubbish: yes\n',
    });
    assert.deepEqual(
      settings.files.map((file) => file.slice('/etc/fairlead/'.length)),
      ['fairlead.yaml', 'ports.d/a.yaml', 'ports.d/more/c.yaml', 'ports.d/b.yaml'],
    );
    assert.equal(settings.data, '/etc/fairlead/data');
    assert.deepEqual(
      settings.ports.map(({ name, backend }) => ('path' in backend ? backend.path : name)),
      ['m', '/etc/fairlead/ports.d/c.sock', '/etc/fairlead/ports.d/b.sock'],
    );
    assert.equal(settings.ports[2]?.line.baud, 300);
  });

  it('fills in YAML aliases, and keeps names as they were written', () => {
    const { ports } = settingsOf(
      'ports:\n  1.10: { exec: &c [run, it] }\n  b: { exec: *c, line: &l 300 }\n  c: { tcp: "h:1", line: *l }\n',
    );
    assert.equal(ports[0]?.name, '1.10');
    assert.deepEqual(ports[1]?.backend, { kind: 'exec', command: ['run', 'it'], on: 'pty' });
    assert.equal(ports[2]?.line.baud, 300);
  });

  it('gives settings that nobody can change and that cross threads', () => {
    const settings = settingsOf('ports: { a: { tcp: "h:1", onOpen: { send: x } } }');
    assert.throws(() => Object.assign(settings.ports[0]!.line, { baud: 1 }), TypeError);
    assert.throws(() => Object.assign(settings.ports[0]!.onOpen[0]!, { do: 'wait' }), TypeError);
    assert.deepEqual(structuredClone(settings), settings);
  });
});

describe('on a disk', () => {
  const directory = mkdtempSync(join(tmpdir(), 'fairlead-config-'));
  after(() => rmSync(directory, { recursive: true }));

  it('throws CONFIG_INVALID with a line for each problem', () => {
    const path = join(directory, 'bad.yaml');
    writeFileSync(path, 'dta: /x\nports: { a: { tcp: 1 } }\n');
    assert.throws(
      () => loadConfig(path),
      (error) => {
        assert.ok(error instanceof Fault);
        assert.equal(error.code, 'CONFIG_INVALID');
        const lines = error.message.split('\n');
        assert.equal(lines.length, 2);
        assert.ok(lines[0]?.startsWith(`${path}:1:1: dta: unknown key;`));
        assert.ok(lines[1]?.startsWith(`${path}:2:20: ports.a.tcp: 1 does not fit;`));
        return true;
      },
    );
    const missing = join(directory, 'missing.yaml');
    assert.throws(() => loadConfig(missing), {
      code: 'CONFIG_INVALID',
      message: `${missing}:1:1: ${missing} cannot be read: no such file or directory; expected a configuration file`,
    });
  });

  it('finds the file: named, here, in /etc, or none', () => {
    const here = join(directory, 'fairlead.yaml');
    assert.equal(findConfig(directory, 'x/y.yaml'), join(directory, 'x/y.yaml'));
    assert.equal(findConfig(directory, '/z.yaml'), '/z.yaml');
    assert.equal(
      findConfig(directory, null, (path) => path.startsWith('/etc/')),
      '/etc/fairlead/fairlead.yaml',
    );
    assert.equal(
      findConfig(directory, undefined, () => false),
      null,
    );
    writeFileSync(here, '');
    assert.equal(findConfig(directory, undefined), here);
  });
});

describe('dataDirectoryIn', () => {
  const directory = mkdtempSync(join(tmpdir(), 'fairlead-'));
  after(() => rmSync(directory, { recursive: true }));
  const dataOf = (text: string): string | null => {
    writeFileSync(join(directory, 'fairlead.yaml'), text);
    return dataDirectoryIn(join(directory, 'fairlead.yaml'));
  };

  it('is told by a file that is refused otherwise, its syntax included', () => {
    assert.equal(dataOf('data: ./d\nprots: {}\n'), join(directory, 'd'));
    assert.equal(dataOf('ports: {}\ndata: "/srv/d"\nports: [\n'), '/srv/d');
    assert.equal(dataOf('ports: {\ndata: d # beside it\n'), join(directory, 'd'));
    assert.equal(dataOf('prots: {}\n'), '/var/lib/fairlead');
  });

  it('is null where it cannot be told', () => {
    assert.equal(dataOf('data: [1]\n'), null);
    assert.equal(dataOf('ports: [\n'), null);
    assert.equal(dataDirectoryIn(join(directory, 'missing.yaml')), null);
  });
});
