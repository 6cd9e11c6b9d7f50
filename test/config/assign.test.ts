import assert from 'node:assert/strict';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { assignNumbers } from '../../src/config/assign.ts';

describe('assignNumbers', () => {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'fairlead-assign-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  function write(name: string, text: string): string {
    const path = join(directory, name);
    writeFileSync(path, text);
    return path;
  }

  it('writes the missing numbers and changes nothing else, in every file', () => {
    mkdirSync(join(directory, 'ports.d'));
    const main = write(
      'fairlead.yaml',
      `# the rack
include: [ports.d/*.yaml]
ports:   # by name
  a:     { tcp: "h:1" }   # first
  b:
      # a comment of b
      tcp: "h:2"          # where
      group: g

  c: {tcp: "h:3", n: 2}
`,
    );
    const more = write('ports.d/more.yaml', 'ports:\r\n  d:\r\n    tcp: "h:4"\r\n');
    assert.deepEqual(assignNumbers(main), [
      { port: 'a', n: 1, file: main },
      { port: 'b', n: 3, file: main },
      { port: 'd', n: 4, file: more },
    ]);
    assert.equal(
      readFileSync(main, 'utf8'),
      `# the rack
include: [ports.d/*.yaml]
ports:   # by name
  a:     { n: 1, tcp: "h:1" }   # first
  b:
      # a comment of b
      n: 3
      tcp: "h:2"          # where
      group: g

  c: {tcp: "h:3", n: 2}
`,
    );
    assert.equal(readFileSync(more, 'utf8'), 'ports:\r\n  d:\r\n    n: 4\r\n    tcp: "h:4"\r\n');
    assert.deepEqual(assignNumbers(main), [], 'a second run has nothing to do');
    assert.deepEqual(readdirSync(directory).sort(), ['fairlead.yaml', 'ports.d']);
  });

  it('keeps the mode of the file, and a link a link', () => {
    const real = write('real.yaml', 'ports: {a: {tcp: "h:1"}}\n');
    chmodSync(real, 0o640);
    const link = join(directory, 'fairlead.yaml');
    symlinkSync(real, link);
    assignNumbers(link);
    assert.equal(readFileSync(real, 'utf8'), 'ports: {a: {n: 1, tcp: "h:1"}}\n');
    assert.equal(statSync(real).mode & 0o777, 0o640);
    assert.ok(lstatSync(link).isSymbolicLink());
  });

  it('writes nothing when a number cannot be inserted or would do harm', () => {
    const refused: [string, RegExp][] = [
      [
        'ports:\n  a: &x { tcp: "h:1" }\n  b: *x\n',
        /fairlead\.yaml:3:3: ports\.b: is no map of its own/,
      ],
      ['ports:\n  a: { tpc: "h:1" }\n', /fairlead\.yaml:2:8: ports\.a\.tpc: unknown key/],
      [
        'users: { u: { role: view } }\nlisten: { ssh: "127.0.0.1:4001", raw: { auth: none, allow: [10.0.0.0/8], as: u } }\nports: { a: { tcp: "h:1" } }\n',
        /overlaps listen\.ssh/,
      ],
    ];
    for (const [text, words] of refused) {
      const path = write('fairlead.yaml', text);
      assert.throws(
        () => assignNumbers(path),
        (error: Error & { code?: string }) =>
          error.code === 'CONFIG_INVALID' && words.test(error.message),
      );
      assert.equal(readFileSync(path, 'utf8'), text);
    }
  });
});
