import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { findConfig } from '../../src/config/find.ts';
import { dataDirectoryIn, loadConfig } from '../../src/config/load.ts';
import { Fault } from '../../src/core/fault.ts';
import { parseAuthorizedKey } from '../../src/auth/ssh-keys.ts';
import { ED25519_KEY, RSA_KEY } from '../auth/public-keys.ts';
import { settingsOf } from './support.ts';

function packageRoot(directory = import.meta.dirname): string {
  return existsSync(join(directory, 'package.json')) ? directory : packageRoot(dirname(directory));
}

describe('loadConfig', () => {
  it('fills in the defaults of an empty file', () => {
    assert.deepEqual(settingsOf(''), {
      files: ['/etc/fairlead/fairlead.yaml'],
      data: '/var/lib/fairlead',
      listen: { ssh: { host: '127.0.0.1', tcpPort: 8022, allow: [] }, raw: null },
      users: [],
      roles: {},
      ports: [],
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
      ['1 db1 device 115200', '2 sw1 tcp 9600', '3 vm3 unix 115200', '4 vm4 exec 115200'],
    );
    assert.equal(settings.markMs, 3_600_000);
  });

  it('loads the example with everything that is commented out in it', () => {
    const text = readFileSync(join(packageRoot(), 'config/fairlead.example.yaml'), 'utf8');
    const whole = text.replaceAll(/^( +)# ((?:raw|keysFile|lab): .*)$/gm, '$1$2');
    assert.notEqual(whole, text);
    const settings = settingsOf({ 'fairlead.yaml': whole, 'bob.pub': `${RSA_KEY} bob\n` });
    assert.deepEqual(settings.listen.raw, {
      host: '127.0.0.1',
      base: 4000,
      allow: ['127.0.0.1/32'],
      as: 'lab',
    });
    assert.equal(settings.users.find(({ name }) => name === 'bob')?.keys.length, 2);
  });

  it('reads every backend', () => {
    const { ports } = settingsOf(`
ports:
  a: { device: ./pty, signals: { dtr: on, rts: false } }
  b: { tcp: "[2001:db8::1]:5001" }
  c: { unix: /run/c.sock }
  d: { exec: [virsh, console, vm1] }
  e: { pty: /dev/pts/1 }
  f: { sim: linux }
  g: { sim: { machine: router, seed: 7, speed: 2.5 } }
`);
    assert.deepEqual(
      ports.map((port) => port.backend),
      [
        { kind: 'device', path: '/etc/fairlead/pty', signals: { dtr: true, rts: false } },
        { kind: 'tcp', host: '2001:db8::1', tcpPort: 5001 },
        { kind: 'unix', path: '/run/c.sock' },
        { kind: 'exec', command: ['virsh', 'console', 'vm1'] },
        { kind: 'pty', path: '/dev/pts/1' },
        { kind: 'sim', machine: 'linux', seed: 1, speed: 1 },
        { kind: 'sim', machine: 'router', seed: 7, speed: 2.5 },
      ],
    );
  });

  it('takes line settings in every spelling, the baud rate as a number too', () => {
    const lines = ['"115200 8N1"', '"115200,8n1"', '9600n81', '9600', '"19200 7e1"'];
    const ports = lines.map((line, i) => `  p${i}: { tcp: "h:1", line: ${line} }`).join('\n');
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
      signals: { dtr: false },
    });
  });

  it('reads doors', () => {
    const text = `
listen:
  ssh: { address: "0.0.0.0:22", allow: [10.0.0.0/8] }
  raw: { host: 10.0.0.1, base: 7000, auth: none, allow: [10.0.0.0/8], as: lab }
users: { lab: { role: view } }
`;
    assert.deepEqual(settingsOf(text).listen, {
      ssh: { host: '0.0.0.0', tcpPort: 22, allow: ['10.0.0.0/8'] },
      raw: { host: '10.0.0.1', base: 7000, allow: ['10.0.0.0/8'], as: 'lab' },
    });
    assert.equal(settingsOf('listen: { ssh: none }').listen.ssh, null);
  });

  it('reads users with keys and passwords from files beside the configuration', () => {
    const hash = `$scrypt$ln=15,r=8,p=1$${'A'.repeat(22)}$${'B'.repeat(43)}`;
    const { users, roles } = settingsOf({
      'fairlead.yaml': `
roles: { auditor: [view, tx] }
users:
  alice: { role: admin, keys: ["${ED25519_KEY} a"], keysFile: keys/alice.pub, passwordFile: /run/pw }
  bob: { role: auditor, ports: ["*"], unix: bob, from: [10.0.0.0/8, "::1"] }
`,
      'keys/alice.pub': `# two\n\n${RSA_KEY} on a card\n`,
      '/run/pw': `${hash}\n`,
    });
    assert.deepEqual(users, [
      {
        name: 'alice',
        role: 'admin',
        ports: [],
        keys: [`${ED25519_KEY} a`, `${RSA_KEY} on a card`],
        password: hash,
        unix: null,
        from: [],
      },
      {
        name: 'bob',
        role: 'auditor',
        ports: ['*'],
        keys: [],
        password: null,
        unix: 'bob',
        from: ['10.0.0.0/8', '::1'],
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
    assert.deepEqual(ports[1]?.backend, { kind: 'exec', command: ['run', 'it'] });
    assert.equal(ports[2]?.line.baud, 300);
  });

  it('gives settings that nobody can change and that cross threads', () => {
    const settings = settingsOf('ports: { a: { tcp: "h:1" } }');
    assert.throws(() => Object.assign(settings.ports[0]!.line, { baud: 1 }), TypeError);
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
