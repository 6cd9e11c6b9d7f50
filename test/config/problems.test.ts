import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { loadConfig } from '../../src/config/load.ts';
import { Fault } from '../../src/core/fault.ts';
import { ED25519_KEY, RSA_1024_KEY } from '../auth/public-keys.ts';
import { inMemory, problemsOf } from './support.ts';

const PORT_KEYS =
  'n, aliases, was, profile, device, tcp, unix, exec, pty, sim, line, flow, input, latency, writers, group or signals';
const LINE = 'baud, data bits 5-8, parity N/O/E/M/S and stop bits 1/1.5/2, as in "115200 8N1"';
const KEY =
  'an OpenSSH public key, "type base64 comment", of type ssh-ed25519, ecdsa-sha2-* or ssh-rsa (2048 bits or more)';
const NAME = 'letters, digits, ".", "_" and "-", at most 64, the first a letter or digit';
const RAW = 'as a raw door has no login: it needs auth: none, allow and as';

/** What is wrong, the text of fairlead.yaml, and every problem. */
const table: [string, string, string[]][] = [
  [
    'a mistyped key at the top',
    'prots: {}\n',
    [
      '1:1: prots: unknown key; expected data, include, listen, users, roles, profiles, defaults, ports, mark or log; did you mean "ports"?',
    ],
  ],
  [
    'a mistyped key in a port',
    'ports:\n  db1:\n    devcie: /dev/ttyS0\n',
    [`3:5: ports.db1.devcie: unknown key; expected ${PORT_KEYS}; did you mean "device"?`],
  ],
  [
    'a mistyped key inside one of two shapes',
    'listen:\n  ssh: { adress: "127.0.0.1:22" }\n',
    [
      '2:3: listen.ssh: "address" is missing; expected host:port, such as 127.0.0.1:8022 or "[::1]:8022"',
      '2:10: listen.ssh.adress: unknown key; expected address or allow; did you mean "address"?',
    ],
  ],
  [
    'keys of a later version',
    'listen: { web: "127.0.0.1:80" }\nports:\n  a: { tcp: "h:1", power: { on: x } }\n  b: { rfc2217: "h:1" }\n',
    [
      '1:11: listen.web: not in this version; expected ssh or raw',
      `3:20: ports.a.power: not in this version; expected ${PORT_KEYS}`,
      `4:8: ports.b.rfc2217: not in this version; expected ${PORT_KEYS}`,
    ],
  ],
  [
    'a duplicate key',
    'ports:\n  a: { tcp: "h:1" }\n  a: { tcp: "h:2" }\n',
    ['3:3: duplicate key "a"; expected each once'],
  ],
  [
    'names that differ in case only',
    'ports:\n  db1: { tcp: "h:1" }\n  DB1: { tcp: "h:2" }\nusers:\n  al: { role: view, unix: a }\n  AL: { role: view, unix: b }\n',
    [
      '3:3: ports.DB1: already defined at fairlead.yaml:2:3 as "db1"; expected a name of its own (case does not count)',
      '6:3: users.AL: already defined at fairlead.yaml:5:3 as "al"; expected a name of its own (case does not count)',
    ],
  ],
  [
    'an alias that is taken',
    'ports:\n  a: { tcp: "h:1", aliases: [b, c] }\n  b: { tcp: "h:2", aliases: [C, b] }\n',
    [
      '2:30: ports.a.aliases: "b" is already the port at fairlead.yaml:3:3; expected a name of its own (case does not count)',
      '3:30: ports.b.aliases: "C" is already the alias at fairlead.yaml:2:33; expected a name of its own (case does not count)',
      '3:33: ports.b.aliases: "b" is already the port at fairlead.yaml:3:3; expected a name of its own (case does not count)',
    ],
  ],
  [
    'a port named as a verb, as a user, as a number, or badly',
    'users: { bob: { role: view, unix: b } }\nports:\n  Check: { tcp: "h:1" }\n  bob: { tcp: "h:2" }\n  7: { tcp: "h:3" }\n  -x: { tcp: "h:4" }\n  ok: { tcp: "h:5", aliases: [log, 8] }\n',
    [
      '3:3: ports.Check: "Check" is a verb of fairlead; expected another name',
      '4:3: ports.bob: "bob" is a user; expected another name',
      '5:3: ports.7: "7" is all digits, which stands for a number; expected a name with a letter, and n: for the number',
      `6:3: ports.-x: "-x" is no name; expected ${NAME}`,
      '7:31: ports.ok.aliases: "log" is a verb of fairlead; expected another name',
      '7:36: ports.ok.aliases[2]: 8 does not fit; expected a name: letters, digits, ".", "_" and "-", at most 64, the first a letter or digit, not all digits',
    ],
  ],
  [
    'numbers used twice or out of range',
    'ports:\n  a: { n: 1, tcp: "h:1" }\n  b: { n: 1, tcp: "h:2" }\n  c: { n: 0, tcp: "h:3" }\n  d: { n: 1000, tcp: "h:4" }\n  e: { n: "2", tcp: "h:5" }\n',
    [
      '3:11: ports.b.n: 1 is already the number of a (fairlead.yaml:2:11); expected a free one, such as 2',
      '4:11: ports.c.n: 0 does not fit; expected a whole number from 1 to 999',
      '5:11: ports.d.n: 1000 does not fit; expected a whole number from 1 to 999',
      '6:11: ports.e.n: "2" does not fit; expected a whole number from 1 to 999',
    ],
  ],
  [
    'no backend, two backends, an empty port',
    'ports:\n  a: { n: 1 }\n  b: { tcp: "h:1", unix: /x }\n  c:\n',
    [
      '2:3: ports.a: does not say where its bytes come from; expected one of device, tcp, unix, exec, pty, sim',
      '3:20: ports.b.unix: a second backend beside tcp; expected exactly one of device, tcp, unix, exec, pty, sim',
      '4:3: ports.c: is empty; expected a map with one of device, tcp, unix, exec, pty, sim',
    ],
  ],
  [
    'backends that cannot be right',
    'ports:\n  a: { device: ttyS0 }\n  b: { tcp: 5001 }\n  c: { exec: virsh console vm }\n  d: { exec: [sleep, 5] }\n  e: { sim: linus }\n  f: { sim: { machine: linux, sped: 2 } }\n  g: { exec: [] }\n',
    [
      '2:16: ports.a.device: "ttyS0" does not fit; expected a path from "/", "./" or "../", such as /dev/serial/by-id/...',
      '3:13: ports.b.tcp: 5001 does not fit; expected host:port, such as 10.0.0.9:5001 or "[::1]:8022"',
      '4:14: ports.c.exec: "virsh console vm" does not fit; expected a list of the command and its arguments; no shell reads it',
      '5:22: ports.d.exec[2]: 5 does not fit; expected a word of the command (quote numbers)',
      '6:13: ports.e.sim: no machine "linus"; expected linux or router; did you mean "linux"?',
      '7:31: ports.f.sim.sped: unknown key; expected machine, seed or speed; did you mean "seed" or "speed"?',
      '8:14: ports.g.exec: an empty list does not fit; expected a command',
    ],
  ],
  [
    'one device for two ports',
    'ports:\n  a: { device: /dev/ttyS0 }\n  b: { device: /dev/../dev/ttyS0 }\n',
    [
      '3:16: ports.b.device: a already uses /dev/ttyS0 (fairlead.yaml:2:3); expected a device of its own',
    ],
  ],
  [
    'bad settings of a line, each where it stands',
    'defaults: { line: 9600 9N1 }\nprofiles: { p: { flow: rts } }\nports:\n  a: { tcp: "h:1", line: fast, input: maked, latency: 0, writers: }\n  b: { tcp: "h:1", signals: { dtr: on } }\n',
    [
      `1:19: defaults.line: "9600 9N1" is not a line setting; expected ${LINE}`,
      '2:24: profiles.p.flow: "rts" does not fit; expected none, rtscts or xonxoff; did you mean "rtscts"?',
      `4:26: ports.a.line: "fast" is not a line setting; expected ${LINE}`,
      '4:39: ports.a.input: "maked" does not fit; expected masked, full or none; did you mean "masked"?',
      '4:55: ports.a.latency: 0 does not fit; expected normal or low',
      '4:58: ports.a.writers: is empty; expected one or many',
      '5:20: ports.b.signals: a tcp line has no signals to set; expected them on a device',
    ],
  ],
  [
    'profiles that are unknown or build on themselves',
    'profiles:\n  a: { profile: b }\n  b: { profile: a }\n  c: { profile: c }\n  d: { profile: ciscoo }\n  cisco: {}\nports:\n  p: { tcp: "h:1", profile: Cicso }\n',
    [
      '3:17: profiles.b.profile: builds on itself (a -> b -> a); expected no loop',
      '4:17: profiles.c.profile: builds on itself (c -> c); expected no loop',
      '5:17: profiles.d.profile: no profile "ciscoo"; expected a, b, c, d or cisco; did you mean "c" or "cisco"?',
      '8:29: ports.p.profile: no profile "Cicso"; expected a, b, c, d or cisco; did you mean "c" or "cisco"?',
    ],
  ],
  [
    'a former name that is not free',
    'ports:\n  a: { tcp: "h:1", was: b }\n  b: { tcp: "h:2", was: old }\n  c: { tcp: "h:3", was: OLD }\n',
    [
      '2:25: ports.a.was: "b" is still a port at fairlead.yaml:3:3; expected the former name of this port',
      '4:25: ports.c.was: "OLD" is already what b was; expected the former name of this port',
    ],
  ],
  [
    'a raw door without its three words',
    'listen:\n  raw: { base: 4000 }\n',
    [
      `2:3: listen.raw: "auth" is missing; expected none, ${RAW}`,
      `2:3: listen.raw: "allow" is missing; expected a list of address blocks, ${RAW}`,
      `2:3: listen.raw: "as" is missing; expected the name of a user, ${RAW}`,
    ],
  ],
  [
    'a raw door for nobody, for an unknown user, with a login',
    'users: { lab: { role: view, unix: l } }\nlisten:\n  raw: { auth: password, allow: [], as: labb }\n',
    [
      `3:16: listen.raw.auth: "password" does not fit; expected none, ${RAW}`,
      `3:33: listen.raw.allow: an empty list does not fit; expected at least one address block, ${RAW}`,
      '3:41: listen.raw.as: no user "labb"; expected one of users; did you mean "lab"?',
    ],
  ],
  [
    'doors that overlap',
    'users: { lab: { role: view } }\nlisten:\n  ssh: 0.0.0.0:4022\n  raw: { base: 4000, auth: none, allow: [10.0.0.0/8], as: lab }\nports:\n  a: { tcp: "h:1", n: 22 }\n',
    [
      '4:16: listen.raw: the door of a at 4000 + 22 = 4022 overlaps listen.ssh on 0.0.0.0:4022; expected another base or address',
    ],
  ],
  [
    'a door beyond the last TCP port',
    'users: { lab: { role: view } }\nlisten:\n  raw: { base: 65500, auth: none, allow: [10.0.0.0/8], as: lab }\nports:\n  a: { tcp: "h:1", n: 36 }\n',
    ['3:16: listen.raw: 65500 + 36 (n of a) is no TCP port; expected a base of 65535 - 36 at most'],
  ],
  [
    'addresses that cannot be read',
    'listen:\n  ssh: 8022\n  raw: { host: 1.2.3, auth: none, allow: [10.0.0.7/8], as: x }\nusers: { x: { role: view, from: [home] } }\n',
    [
      '2:8: listen.ssh: 8022 does not fit; expected host:port, such as 127.0.0.1:8022, a map with address and allow, or none',
      '3:16: listen.raw.host: "1.2.3" does not fit; expected an IP address or host name',
      '3:43: listen.raw.allow[1]: "10.0.0.7/8" has bits set beyond its prefix; write 10.0.0.0/8 for the block or leave out the prefix for the one address; expected an address or block such as 10.0.0.0/8 or 2001:db8::/32',
      '4:34: users.x.from[1]: "home" is not an address block; expected an address or block such as 10.0.0.0/8 or 2001:db8::/32',
    ],
  ],
  [
    'an IPv6 address that YAML takes for a list',
    'listen:\n  ssh: [::1]:8022\n',
    [
      '2:13: this is not YAML: unexpected scalar at node end; write an IPv6 address in quotes: "[::1]:8022"',
    ],
  ],
  [
    'users with unknown roles and groups, and bad patterns',
    'roles: { admin: [view], chief: [veiw] }\nusers:\n  a: { role: amdin, ports: ["@rak", "[z-a]", "a/b"], unix: u }\n  b: { ports: ["@Rack"], unix: u }\nports: { p: { tcp: "h:1", group: rack } }\n',
    [
      '1:10: roles.admin: "admin" is built in; expected a name of its own',
      '1:33: roles.chief[1]: "veiw" does not fit; expected view, write, break, control, tx, export or admin; did you mean "view"?',
      '3:14: users.a.role: no role "amdin"; expected view, operator, admin or chief; did you mean "admin"?',
      '3:29: users.a.ports[1]: no port has the group "rak"; expected a group of some port; did you mean "@rack"?',
      '3:37: users.a.ports[2]: "[z-a]" does not fit; expected a pattern of port names such as db1 or "db*", or "@group"',
      '3:46: users.a.ports[3]: "a/b" does not fit; expected a pattern of port names such as db1 or "db*", or "@group"',
      '4:3: users.b: "role" is missing; expected a name: letters, digits, ".", "_" and "-", at most 64, the first a letter or digit',
      '4:32: users.b.unix: "u" is already a; expected one user for each unix user',
    ],
  ],
  [
    'keys and passwords that are none, none of them repeated',
    `users:\n  a: { role: view, keys: [ssh-ed25519 AAAA], password: hunter2 }\n  b: { role: view, keys: ['from="x" ${ED25519_KEY}'], password: 12345 }\n  c: { role: view, keys: [${RSA_1024_KEY}], password: $scrypt$x }\n  d: { role: view, keys: ${ED25519_KEY} }\n`,
    [
      `2:27: users.a.keys[1]: the key is cut or damaged; expected ${KEY}`,
      '2:56: users.a.password: this is no scrypt hash; expected a hash made by "fairlead user hash", $scrypt$ln=15,r=8,p=1$...$...',
      `3:27: users.b.keys[1]: options in front of a key (from) are not taken; use from: and role: of the user; expected ${KEY}`,
      `3:${27 + 'from="x" '.length + ED25519_KEY.length + '"", password: '.length + 1}: users.b.password: this does not fit; expected a hash made by "fairlead user hash", $scrypt$ln=15,r=8,p=1$...$...`,
      `4:27: users.c.keys[1]: the RSA key has only 1024 bits; expected ${KEY}`,
      `4:${27 + RSA_1024_KEY.length + '], password: '.length}: users.c.password: this hash is damaged; expected a hash made by "fairlead user hash", $scrypt$ln=15,r=8,p=1$...$...`,
      `5:26: users.d.keys: "${ED25519_KEY.slice(0, 59)}... does not fit; expected a list of public keys`,
    ],
  ],
  [
    'other sections',
    'data: ~/x\nmark: 1\nlog: { codec: gzip, spool: 1K, retention: 30d }\ninclude: a.yaml\n',
    [
      '1:7: data: "~/x" does not fit; expected a path (relative to this file; "~" is not filled in)',
      '2:7: mark: 1 does not fit; expected a duration from 1s to 7d, such as 1h, or none',
      '3:15: log.codec: "gzip" does not fit; expected brotli or zstd',
      '3:28: log.spool: "1K" does not fit; expected a size from 1M to 1G, such as 32M',
      '3:32: log.retention: not in this version; expected codec or spool',
      '4:10: include: "a.yaml" does not fit; expected a list of paths, such as [ports.d/*.yaml]',
    ],
  ],
  [
    'lists where maps belong',
    'ports: [a]\nusers: x\nroles: []\nprofiles: 3\nlisten: []\n',
    [
      '1:8: ports: expected a map: a name, ":" and its settings',
      '2:8: users: expected a map: a name, ":" and its settings',
      '3:8: roles: expected a map: a name, ":" and a list of rights',
      '4:11: profiles: expected a map: a name, ":" and its settings',
      '5:9: listen: an empty list does not fit; expected a map of listeners',
    ],
  ],
  [
    'a list as the whole file',
    '- a\n',
    ['1:1: this is no configuration; expected a map with ports, users and listen'],
  ],
  [
    'broken YAML',
    'ports:\n\ta: 1\n',
    ['2:1: this is not YAML: tabs are not allowed as indentation'],
  ],
  [
    'two documents',
    'data: /x\n---\ndata: /y\n',
    ['2:1: a second document starts here; expected one'],
  ],
  ['a tag', 'data: !secret x\n', ['1:7: this is not YAML: unresolved tag: !secret']],
  ['an alias of nothing', 'data: *x\n', ['1:7: alias "*x" has no anchor']],
  [
    'an alias of itself',
    'ports: &p { a: *p }\n',
    [
      '1:16: alias "*p" stands for itself',
      '1:13: ports.a: is empty; expected a map with one of device, tcp, unix, exec, pty, sim',
    ],
  ],
  [
    'a key that is a list',
    '? [a]\n: b\n',
    ['1:3: a key is missing or is no text; expected "key: value"'],
  ],
];

describe('problems of a configuration', () => {
  for (const [what, text, expected] of table) {
    it(`names ${what}`, () => {
      const lines = expected.map((line) => `fairlead.yaml:${line}`);
      assert.deepEqual(
        problemsOf(text),
        lines.sort((a, b) => placeOf(a) - placeOf(b)),
      );
    });
  }

  it('points into the included file', () => {
    assert.deepEqual(
      problemsOf({
        'fairlead.yaml':
          'include: [ports.d/*.yaml]\nports: { a: { tcp: "h:1", n: 1 } }\nlisten: { telnet: {} }\n',
        'ports.d/1.yaml': 'ports:\n  A: { tcp: "h:1" }\n  b: { tpc: "h:1" }\n',
        'ports.d/2.yaml':
          'data: /x\nusers: { a: { role: view, unix: a } }\nports: { c: { n: 1, tcp: "h:1" } }\n',
      }),
      [
        'fairlead.yaml:2:10: ports.a: "a" is a user; expected another name',
        'fairlead.yaml:3:11: listen.telnet: not in this version; expected ssh or raw',
        'ports.d/1.yaml:2:3: ports.A: already defined at fairlead.yaml:2:10 as "a"; expected a name of its own (case does not count)',
        `ports.d/1.yaml:3:8: ports.b.tpc: unknown key; expected ${PORT_KEYS}; did you mean "tcp"?`,
        'ports.d/2.yaml:1:1: data: belongs into the main file; expected include, users, profiles, ports',
        'ports.d/2.yaml:3:18: ports.c.n: 1 is already the number of a (fairlead.yaml:2:30); expected a free one, such as 2',
      ],
    );
  });

  it('refuses an include that is missing or leads back, but not a pattern without matches', () => {
    assert.deepEqual(
      problemsOf({
        'fairlead.yaml': 'include: [none/*.yaml, gone.yaml, a.yaml]\n',
        'a.yaml': 'include: [b.yaml]\n',
        'b.yaml': 'include:\n  - fairlead.yaml\n',
      }),
      [
        'fairlead.yaml:1:24: include[2]: gone.yaml cannot be read: no such file or directory; expected a configuration file',
        'b.yaml:2:5: include[1]: fairlead.yaml includes itself by way of "fairlead.yaml", "a.yaml", "b.yaml", "fairlead.yaml"; expected no loop',
      ],
    );
  });

  it('does not call unknown what may stand in a file that cannot be read', () => {
    assert.deepEqual(
      problemsOf({
        'fairlead.yaml':
          'include: [more.yaml]\nports: { a: { tcp: "h:1", profile: p } }\nusers: { u: { role: view, ports: ["@g"], unix: u } }\n',
        'more.yaml': 'profiles: {\n',
      }),
      [
        'more.yaml:2:1: this is not YAML: flow map in block collection must be sufficiently indented and end with a }',
      ],
    );
  });

  it('says why a file of keys or a password cannot be used, and where in it', () => {
    const denied = Object.assign(new Error('EACCES'), { errno: -13, code: 'EACCES' });
    assert.deepEqual(
      problemsOf({
        'fairlead.yaml':
          'users:\n  a: { role: view, keysFile: a.pub, passwordFile: a.pw }\n  b: { role: view, keysFile: b.pub, passwordFile: b.pw }\n  c: { role: view, passwordFile: b.pw, password: x }\n',
        'a.pub': denied,
        'b.pub': `# b\n${ED25519_KEY}\nssh-dss AAAA\n`,
        'b.pw': 'hunter2\n',
      }),
      [
        'fairlead.yaml:2:30: users.a.keysFile: "a.pub" cannot be read: permission denied; expected a readable file with public keys',
        'fairlead.yaml:2:51: users.a.passwordFile: "a.pw" cannot be read: no such file or directory; expected a readable file with the hash of a password',
        'fairlead.yaml:4:20: users.c.passwordFile: there is a password, too; expected one of the two',
        'fairlead.yaml:4:50: users.c.password: this is no scrypt hash; expected a hash made by "fairlead user hash", $scrypt$ln=15,r=8,p=1$...$...',
        'b.pub:3:1: DSA keys (ssh-dss) are too weak; expected ' +
          `${KEY} (keysFile of b, fairlead.yaml:3:30)`,
        'b.pw:1:1: this is no scrypt hash; expected one line made by "fairlead user hash" (passwordFile of b, fairlead.yaml:3:51)',
      ],
    );
  });

  it('warns, but accepts, where something has no effect', () => {
    const options = inMemory({
      'fairlead.yaml':
        'users: { a: { role: view, ports: [db*] } }\nports: { d1: { tcp: "h:1" } }\n',
    });
    const { settings, problems } = loadConfig('/etc/fairlead/fairlead.yaml', options);
    assert.equal(settings.users.length, 1);
    assert.deepEqual(
      problems.map(({ severity, text }) => `${severity}: ${text}`),
      [
        'warning: users.a: cannot log in: has no key, no password and no unix user',
        'warning: users.a.ports[1]: "db*" names no port',
      ],
    );
  });

  it('knows the users of the database', () => {
    const text =
      'users: { Bob: { role: view, unix: b } }\nlisten: { raw: { auth: none, allow: [10.0.0.0/8], as: eve } }\nports: { eve: { tcp: "h:1" } }\n';
    assert.deepEqual(problemsOf(text, { databaseUsers: ['bob', 'eve'] }), [
      'fairlead.yaml:1:10: users.Bob: "bob" is also a user in the database; expected one of the two (this file counts)',
      'fairlead.yaml:3:10: ports.eve: "eve" is a user; expected another name',
    ]);
  });

  it('refuses zstd on a Node without it', () => {
    assert.deepEqual(problemsOf('log: { codec: zstd }', { hasZstd: true }), []);
    const [problem] = problemsOf('log: { codec: zstd }', { hasZstd: false });
    assert.match(problem ?? '', /^fairlead\.yaml:1:15: log\.codec: .*expected brotli$/);
  });

  it('survives nesting and aliases made to exhaust it', () => {
    const deep = ['[', '{a: ', '- ', '? '].map((open) => open.repeat(50_000));
    const indented = Array.from({ length: 2_000 }, (_, depth) => `${' '.repeat(depth)}a:`).join(
      '\n',
    );
    const doubling = Array.from(
      { length: 40 },
      (_, i) => `a${i}: &a${i} [${i === 0 ? 'x' : `*a${i - 1}, *a${i - 1}`}]`,
    ).join('\n');
    for (const text of [...deep, indented, doubling]) {
      const problems = problemsOf(text);
      assert.ok(problems.length > 0);
      assert.match(problems.join('\n'), /nested deeper than 64 levels|more than 200000 values/);
    }
  });
});

describe('any text', () => {
  const word = fc.constantFrom(
    ...['ports', 'users', 'listen', 'raw', 'ssh', 'a', 'b', 'tcp', 'n', 'role', 'keys', 'profile'],
    ...[
      'include',
      '__proto__',
      'constructor',
      '1',
      'h:1',
      '&x',
      '*x',
      'null',
      '~',
      '""',
      '!t',
      '<<',
    ],
  );
  const glue = fc.constantFrom(
    ': ',
    ': ',
    '\n',
    '\n  ',
    '\n    ',
    '{',
    '}',
    '[',
    ']',
    ', ',
    '- ',
    '? ',
    '#',
    '|',
    '\t',
    '---\n',
    "'",
    '"',
  );
  const yamlish = fc.array(fc.oneof(word, glue), { maxLength: 40 }).map((parts) => parts.join(''));
  const value: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
    node: fc.oneof(
      { maxDepth: 4 },
      word,
      fc.integer(),
      fc.constantFrom(null, true, 1.5),
      fc.array(tie('node'), { maxLength: 3 }),
      fc.dictionary(word, tie('node'), { maxKeys: 4 }),
    ),
  })).node;
  const file = fc.oneof(
    yamlish,
    fc.string(),
    value.map((data) => JSON.stringify(data)),
  );

  it('makes one line of a problem, whatever it quotes', () => {
    const [problem, ...more] = problemsOf('? prots\n\n    |');
    assert.match(problem!, /^fairlead\.yaml:1:3: prots \|: unknown key; [^\n]*$/);
    assert.deepEqual(more, []);
  });

  it('is read, or refused with CONFIG_INVALID: never anything else', () => {
    fc.assert(
      fc.property(file, file, (text, included) => {
        const options = inMemory({
          'fairlead.yaml': text,
          'a.yaml': included,
        });
        try {
          loadConfig('/etc/fairlead/fairlead.yaml', options);
        } catch (error) {
          assert.ok(error instanceof Fault, String(error));
          assert.equal(error.code, 'CONFIG_INVALID');
          for (const line of error.message.split('\n')) assert.match(line, /^\/\S+:\d+:\d+: ./);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

function placeOf(line: string): number {
  const [, row, column] = line.split(':');
  return Number(row) * 10_000 + Number(column);
}
