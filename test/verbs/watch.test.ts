import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import { Bench, NOW_US, portStatus } from './fakes.ts';

const running: Bench[] = [];

/** A watch that is attached to all it asked for. */
async function watching(
  bench: Bench,
  count: number,
  ...argv: string[]
): Promise<{ done: Promise<number> }> {
  running.push(bench);
  const done = bench.run('watch', ...argv);
  await bench.access.when(() => bench.access.attached.length === count);
  await new Promise(setImmediate); // the last attach is answered
  return { done };
}

function rack(): Bench {
  const bench = new Bench();
  bench.access.list = [
    portStatus('db1'),
    portStatus('db22', { writer: 'alice' }),
    portStatus('sw1', { state: 'down', why: 'no such device' }),
  ];
  return bench;
}

async function shown(bench: Bench, lines: string[]): Promise<void> {
  const text = `${lines.join('\n')}\n`;
  await bench.io.when(() => bench.io.output.length >= text.length);
  assert.equal(bench.io.output, text);
}

describe('watch', () => {
  afterEach(() => {
    for (const bench of running.splice(0)) bench.io.abort();
  });

  it('shows whole lines of all ports, with name and mark, never mixed', async () => {
    const bench = rack();
    const { done } = await watching(bench, 2, 'db*');
    assert.deepEqual(bench.access.asked, ['attach db1 view person', 'attach db22 view person']);
    const db1 = bench.access.on('db1');
    const db22 = bench.access.on('db22');
    db1.go('eth0: li');
    db22.go('login: alice\r\nPass');
    db1.go('nk up\r\n\r\neth1');
    db22.go('word:\n');
    db1.go(': down\n');
    await shown(bench, [
      'db22* | login: alice',
      'db1   | eth0: link up',
      'db1   |',
      'db22* | Password:',
      'db1   | eth1: down',
    ]);
    bench.io.abort();
    assert.equal(await done, 0);
    for (const session of bench.access.attached) assert.equal(session.detachedBecause, 'left');
  });

  it('makes what devices and people say safe, and shows a redrawn line as it ended', async () => {
    const bench = rack();
    await watching(bench, 1, 'db1');
    const db1 = bench.access.on('db1');
    db1.go('\x1b[31mred\x1b[0m\x1b]0;title\x07 \x1b[6n\xff\n');
    db1.go('10%\r50%\r100%\r\n');
    db1.emit({ kind: 'message', from: 'bob', text: 'hi\x1b[2J\nthere' });
    await shown(bench, ['db1  | red ÿ', 'db1  | 100%', 'db1  | [message from bob: hi there]']);
  });

  it('says in brackets what happens besides, after the line that had begun', async () => {
    const bench = rack();
    await watching(bench, 3, '*');
    const db1 = bench.access.on('db1');
    db1.go('partial');
    db1.emit({ kind: 'break' });
    db1.emit({ kind: 'down', why: 'it went away' });
    db1.emit({ kind: 'up' });
    db1.emit({ kind: 'skipped', epoch: 1, from: 100, to: 612 });
    db1.emit({ kind: 'writer', writer: 'carol', you: false, by: null });
    db1.go('x\n');
    await shown(bench, [
      'sw1   | [down: no such device]',
      'db1   | partial',
      'db1   | [break]',
      'db1   | [down: it went away]',
      'db1   | [up]',
      'db1   | [skipped 512 bytes]',
      'db1*  | x',
    ]);
  });

  it('shows a prompt after a second of silence, and a long line in pieces of 4 KB', async () => {
    const bench = rack();
    await watching(bench, 1, 'db1');
    const db1 = bench.access.on('db1');
    db1.go('y'.repeat(5000));
    await shown(bench, [`db1  | ${'y'.repeat(4096)}`, `db1  | ${'y'.repeat(904)}`]);
    db1.go('login: ');
    await bench.io.when(() => bench.io.output.endsWith('db1  | login:\n'));
    db1.go('\n');
    await bench.io.when(() => bench.io.output.endsWith('db1  | login:\ndb1  |\n'));
  });

  it('unattended: leaves out what is said while somebody writes', async () => {
    const bench = rack();
    await watching(bench, 2, 'db*', '--unattended');
    const db1 = bench.access.on('db1');
    const db22 = bench.access.on('db22');
    db22.go('seen by alice\n');
    db1.go('alone\nbegun');
    db1.emit({ kind: 'writer', writer: 'bob', you: false, by: null });
    db1.go(' attended\n');
    db1.emit({ kind: 'break' });
    db1.emit({ kind: 'writer', writer: null, you: false, by: null });
    db1.go('alone again\n');
    db22.emit({ kind: 'writer', writer: null, you: false, by: null });
    db22.go('alice left\n');
    await shown(bench, [
      'db1   | alone',
      'db1   | begun',
      'db1   | alone again',
      'db22  | alice left',
    ]);
    const { length } = 'seen by alice\nalice left\n';
    while (db22.creditedBytes < length) await new Promise(setImmediate);
    assert.equal(db22.creditedBytes, length);
  });

  it('json: an object a line, with the place of its first byte', async () => {
    const bench = rack();
    await watching(bench, 1, 'db22', '--json');
    const db22 = bench.access.on('db22');
    db22.go('one\ntw');
    db22.go('o\n');
    db22.emit({ kind: 'up' });
    await bench.io.when(() => bench.io.output.split('\n').length === 4);
    const common = { port: 'db22', writer: 'alice', atUs: NOW_US };
    assert.deepEqual(
      bench.io.output
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
      [
        { ...common, epoch: 1, offset: 0, text: 'one' },
        { ...common, epoch: 1, offset: 4, text: 'two' },
        { ...common, event: 'up' },
      ],
    );
  });

  it('gives credit back for what was written, not before', async () => {
    const bench = rack();
    await watching(bench, 1, 'db1');
    const db1 = bench.access.on('db1');
    assert.equal(db1.request.creditBytes, 262_144);
    const write = bench.io.write.bind(bench.io);
    let goOn = (): void => {};
    const stuck = new Promise<void>((resolve) => (goOn = resolve));
    bench.io.write = async (output) => {
      await stuck;
      return write(output);
    };
    db1.go('a line\n');
    db1.go('begun');
    await new Promise(setImmediate);
    assert.equal(db1.creditedBytes, 0);
    goOn();
    await shown(bench, ['db1  | a line']);
    while (db1.creditedBytes < 12) await new Promise(setImmediate);
    assert.equal(db1.creditedBytes, 12);
  });

  it('watches 1,024 ports within 16 MB of credit', async () => {
    const bench = new Bench();
    bench.access.list = Array.from({ length: 1024 }, (_, index) => portStatus(`p${index}`));
    const { done } = await watching(bench, 1024, '*');
    let credit = 0;
    for (const { request } of bench.access.attached) credit += request.creditBytes;
    assert.ok(credit <= 16_777_216, `${credit}`);
    bench.access.on('p7').go('half a li');
    bench.access.on('p1023').go('last\n');
    bench.access.on('p7').go('ne\n');
    await shown(bench, ['p1023  | last', 'p7     | half a line']);
    bench.io.abort();
    assert.equal(await done, 0);
  });

  it('ends when all its ports did, and when the reader left', async () => {
    const bench = rack();
    const { done } = await watching(bench, 1, 'db1');
    bench.access.on('db1').emit({ kind: 'ended', why: 'the port was removed' });
    assert.equal(await done, 5);
    assert.equal(bench.io.output, 'db1  | [ended: the port was removed]\n');
    const broken = rack();
    const { done: left } = await watching(broken, 1, 'db1');
    broken.io.isBroken = true;
    broken.access.on('db1').go('x\n');
    assert.equal(await left, 0);
    assert.equal(broken.access.on('db1').detachedBecause, 'left');
  });

  it('goes on without a port it may not watch', async () => {
    const bench = rack();
    const attach = bench.access.attach.bind(bench.access);
    bench.access.attach = async (request, onEvent) => {
      const session = await attach(request, onEvent);
      if (request.port === 'db1') throw new Fault('DENIED', 'not you');
      return session;
    };
    await watching(bench, 2, 'db*');
    bench.access.on('db22').go('x\n');
    await shown(bench, ['db1   | [cannot be watched: not you]', 'db22* | x']);
  });

  it('is not found when nothing matches, with the nearest', async () => {
    const bench = rack();
    assert.equal(await bench.run('watch', 'db3*'), 3);
    assert.match(bench.io.errors, /no port matches "db3\*"; did you mean "db1"/);
    assert.equal(await bench.run('watch'), 2);
  });
});
