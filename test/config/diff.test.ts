import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { diffSettings } from '../../src/config/diff.ts';
import { checkConfig } from '../../src/config/load.ts';
import { inMemory, settingsOf } from './support.ts';

describe('diffSettings', () => {
  const before = settingsOf(`
users: { u: { role: view, unix: u } }
ports:
  same: { tcp: "h:1", onOpen: { send: "\\r" } }
  line: { tcp: "h:2" }
  gone: { tcp: "h:3" }
  old: { tcp: "h:4" }
`);

  it('finds nothing to do between equal files, however they are written', () => {
    const again = settingsOf(
      'users: { u: { unix: u, role: view } }\nports: { old: { tcp: "h:4" }, gone: { tcp: "h:3" }, line: { tcp: "h:2" }, same: { tcp: "h:1", line: 115200 8N1, was: before, onOpen: [{ send: \\x0d }] } }\n',
    );
    assert.deepEqual(diffSettings(before, structuredClone(again)), {
      added: [],
      removed: [],
      changed: [],
      unchanged: ['old', 'gone', 'line', 'same'],
      renamed: [],
      autoPortsChanged: false,
      listenChanged: false,
      usersChanged: false,
      markChanged: false,
      needsRestart: [],
    });
  });

  it('tells the doors of everything that is theirs', () => {
    for (const text of [
      'listen: { caps: { perSource: 1 } }',
      'listen: { port-ssh: {} }',
      'banner: text',
      'certificates: { revokedFile: x, authorities: [] }',
    ]) {
      const { settings } = checkConfig('/etc/fairlead/fairlead.yaml', {
        ...inMemory({ 'fairlead.yaml': text }),
      });
      const { listenChanged, usersChanged } = diffSettings(settingsOf(''), settings!);
      assert.deepEqual([listenChanged, usersChanged], [true, false], text);
    }
  });

  it('finds what is a part of a changed line, and what is made for UDP sources, changed', () => {
    const split = (line: number, of: string): string =>
      `ports: { ${of}: { tcp: "h:1", line: ${line} }, b: { split: { of: ${of}, half: low } } }\n`;
    const base = settingsOf(split(300, 'a'));
    assert.deepEqual(diffSettings(base, settingsOf(split(300, 'a'))).changed, []);
    assert.deepEqual(diffSettings(base, settingsOf(split(600, 'a'))).changed, ['a', 'b']);
    assert.deepEqual(diffSettings(base, settingsOf(split(300, 'c'))).changed, ['b']);

    const auto = (max: number): string =>
      `autoPorts: [{ udp: "10.0.0.1:6666", from: 10.0.0.0/8, max: ${max} }]\n`;
    const one = settingsOf(auto(1));
    assert.equal(diffSettings(one, settingsOf(auto(1))).autoPortsChanged, false);
    assert.equal(diffSettings(one, settingsOf(auto(2))).autoPortsChanged, true);
    assert.equal(diffSettings(one, settingsOf('')).autoPortsChanged, true);
  });

  it('finds a port changed by what all ports share', () => {
    const ports = 'ports: { a: { tcp: "h:1" }, b: { tcp: "h:2", tasks: { t: none } } }\n';
    const shared = settingsOf(`tasks: { t: [{ send: x }] }\n${ports}`);
    const other = settingsOf(`tasks: { t: [{ send: y }] }\n${ports}`);
    assert.deepEqual(diffSettings(shared, other).changed, ['a']);
    assert.deepEqual(diffSettings(shared, other).unchanged, ['b']);
  });

  it('names what each port needs, and what has to wait for a restart', () => {
    const after = settingsOf(`
data: /srv
roles: { r: [view] }
users: { u: { role: view, unix: u } }
listen: { ssh: none }
mark: 1h
log: { spool: 64M }
ports:
  SAME: { tcp: "h:1", onOpen: { send: "\\r" } }
  line: { tcp: "h:2", line: 9600 }
  new: { tcp: "h:4", was: OLD }
  more: { tcp: "h:5" }
`);
    assert.deepEqual(diffSettings(before, after), {
      added: ['new', 'more'],
      removed: ['gone', 'old'],
      changed: ['SAME', 'line'],
      unchanged: [],
      renamed: [{ from: 'old', to: 'new' }],
      autoPortsChanged: false,
      listenChanged: true,
      usersChanged: true,
      markChanged: true,
      needsRestart: [
        'data: /var/lib/fairlead stays in use; /srv needs a restart',
        'log.spool: 33554432 bytes stay in use; 67108864 need a restart',
      ],
    });
  });
});
