import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../src/core/fault.ts';
import type { LogReader } from '../../src/core/log-reader.ts';
import {
  MENU_START,
  drawMenu,
  matchingPorts,
  pressKey,
  scrolled,
} from '../../src/verbs/menu-list.ts';
import type { MenuKey, MenuState } from '../../src/verbs/menu-list.ts';
import { MenuKeys } from '../../src/verbs/menu.ts';
import { FakeLog } from '../log/fake-log.ts';
import { Bench, NOW_US, portStatus } from './fakes.ts';
import { Screen } from './screen.ts';

/** The logs of several ports as one. */
function logsOf(logs: Readonly<Record<string, FakeLog>>): LogReader & { readonly asked: string[] } {
  const asked: string[] = [];
  const log = (uuid: string): FakeLog => {
    asked.push(uuid);
    const found = logs[uuid];
    if (!found) throw new Fault('PORT_UNKNOWN', `no port ${uuid}`);
    return found;
  };
  return {
    asked,
    ports: async (caller, uuid) => log(uuid!).ports(caller),
    locate: async (caller, uuid, place) => log(uuid).locate(caller, uuid, place),
    read: async (caller, uuid, from, most) => log(uuid).read(caller, uuid, from, most),
    changed: async (caller, uuid, from, timeoutMs) =>
      log(uuid).changed(caller, uuid, from, timeoutMs),
  };
}

const running: Bench[] = [];

function rack(columns = 80, rows = 24): Bench {
  const logs = {
    'uuid-db1': new FakeLog().rx(1, 'eth0: link up\r\nlogin: '),
    'uuid-db2': new FakeLog().rx(1, '\x1b[31mkernel panic\x1b[0m – é\r\n\r\n'),
  };
  const bench = new Bench({ log: logsOf(logs) });
  bench.io.isTerminal = true;
  bench.io.columns = columns;
  bench.io.rows = rows;
  bench.access.list = [
    portStatus('db1', { writer: 'alice', aliases: ['oracle'], offset: 22 }),
    portStatus('db2', { group: 'rack3' }),
    portStatus('sw1', { state: 'down', why: 'no such device', lastByteAtUs: null }),
  ];
  running.push(bench);
  return bench;
}

/** A menu that shows its list. */
async function shown(bench: Bench): Promise<{ screen: Screen; done: Promise<number> }> {
  const screen = new Screen(bench.io);
  const done = bench.run('menu');
  await screen.until((rows) => rows.some((row) => row.startsWith('db1')));
  return { screen, done };
}

describe('menu', () => {
  afterEach(() => {
    for (const bench of running.splice(0)) bench.io.abort();
  });

  it('lists ports with state, age, writer and what they said last', async () => {
    const bench = rack();
    const { screen } = await shown(bench);
    const rows = await screen.until(
      (all) => all.some((row) => row.includes('login')) && all.some((row) => row.includes('panic')),
    );
    assert.deepEqual(rows.slice(0, 6), [
      'Fairlead  3 ports',
      'PORT STATE   AGE WRITER  LAST LINE',
      'db1  up       3s alice   login:',
      'db2  up       3s         kernel panic ? ?',
      'sw1  down      -         (no such device)',
      '',
    ]);
    assert.match(rows[23]!, /^Enter attaches, type to filter/);
    assert.equal(await screen.reversed(), rows[2]);
    assert.equal(await screen.buffer(), 'alternate');
    assert.equal(bench.io.isRaw, true);
  });

  it('attaches with Enter, and comes back when the session was left', async () => {
    const bench = rack();
    const { screen, done } = await shown(bench);
    bench.io.type('\x1b[B').type('\r');
    await bench.access.when(() => bench.access.attached.length === 1);
    assert.deepEqual(bench.access.asked, ['attach db2 write person']);
    await screen.until((rows) => rows.some((row) => row.includes('db2: you write')));
    assert.equal(await screen.buffer(), 'normal');
    bench.io.type('uname\r').type('\x05c.');
    await screen.until((rows) => rows.some((row) => row.startsWith('db1')));
    assert.equal(await screen.buffer(), 'alternate');
    assert.equal(bench.access.session!.typed, 'uname\r');
    assert.match((await screen.reversed())!, /^db2/);
    bench.io.type('\x03');
    assert.equal(await done, 0);
    assert.equal(await screen.buffer(), 'normal');
    assert.match(bench.io.output, /\x1b\[\?25h\x1b\[\?1049l$/);
    assert.equal(bench.io.hasListener, false);
  });

  it('says at the bottom why a session ended or could not be had', async () => {
    const bench = rack();
    const { screen } = await shown(bench);
    bench.io.type('\r');
    await bench.access.when(() => bench.access.attached.length === 1);
    await screen.until((rows) => rows.some((row) => row.includes('db1: you write')));
    bench.access.session!.emit({ kind: 'ended', why: 'kicked by carol' });
    await screen.until((rows) => rows[23] === 'db1: kicked by carol');
    bench.access.faults.set('db1', new Fault('DENIED', 'alice may not view db1 (right "view")'));
    bench.io.type('\r');
    await screen.until((rows) => rows[23] === 'alice may not view db1 (right "view")');
    bench.io.type('\x1b[A');
    await screen.until((rows) => rows[23]!.startsWith('Enter attaches'));
  });

  it('filters by name, alias and group as one types, and completes with TAB', async () => {
    const bench = rack();
    const { screen } = await shown(bench);
    const names = async (title: string): Promise<string[]> => {
      const rows = await screen.until((all) => all[0] === title);
      return rows.slice(2, 22).flatMap((row) => row.split(' ')[0] || []);
    };
    bench.io.type('d');
    assert.deepEqual(await names('Fairlead  2 of 3: d_'), ['db1', 'db2']);
    bench.io.type('\t');
    assert.deepEqual(await names('Fairlead  2 of 3: db_'), ['db1', 'db2']);
    bench.io.type('2');
    assert.deepEqual(await names('Fairlead  1 of 3: db2_'), ['db2']);
    bench.io.type('\x15').type('ORA');
    assert.deepEqual(await names('Fairlead  1 of 3: ORA_'), ['db1']);
    bench.io.type('\t');
    assert.deepEqual(await names('Fairlead  1 of 3: oracle_'), ['db1']);
    bench.io.type('\x15@rack');
    assert.deepEqual(await names('Fairlead  1 of 3: @rack_'), ['db2']);
    bench.io.type('\x15?w*');
    assert.deepEqual(await names('Fairlead  1 of 3: ?w*_'), ['sw1']);
  });

  it('shows nothing to attach to when nothing matches, and ESC clears the filter', async () => {
    const bench = rack();
    const { screen, done } = await shown(bench);
    bench.io.type('xyz').type('\r');
    const rows = await screen.until((all) => all[23] === 'no port matches');
    assert.equal(rows[2], 'no port matches');
    bench.io.type('\x1b');
    await screen.until((all) => all[0] === 'Fairlead  3 ports');
    assert.deepEqual(bench.access.asked, []);
    bench.io.type('\x1b');
    assert.equal(await done, 0);
  });

  it('views only after ^T', async () => {
    const bench = rack();
    const { screen } = await shown(bench);
    bench.io.type('\x14');
    await screen.until((rows) => rows[0] === 'Fairlead  3 ports  (view only)');
    bench.io.type('\r');
    await bench.access.when(() => bench.access.attached.length === 1);
    assert.deepEqual(bench.access.asked, ['attach db1 view person']);
  });

  it('shows help with the other verbs on ?, and any key leaves it', async () => {
    const bench = rack(100, 12);
    const { screen } = await shown(bench);
    bench.io.type('?');
    await screen.until(
      (rows) => rows[4]!.includes('Enter') && rows[11] === 'arrows scroll, any other key: back',
    );
    bench.io.type('\x1b[6~');
    await screen.until((rows) => rows.some((row) => /^ +watch +shows many ports/.test(row)));
    for (const key of ['x', ' ']) {
      bench.io.type(key);
      const rows = await screen.until((all) => all.some((row) => row.startsWith('db1')));
      assert.equal(rows[0], 'Fairlead  3 ports');
      bench.io.type('?');
      await screen.until((all) => all[4]!.includes('Enter'));
    }
  });

  it('follows a resize, down to 40 columns and 10 rows', async () => {
    const bench = rack();
    const { screen } = await shown(bench);
    await screen.until((rows) => rows.some((row) => row.includes('panic')));
    screen.resize(40, 10);
    bench.io.resize(40, 10);
    const rows = await screen.until((all) => all[9] === 'Enter attaches, ? help, ^C leaves');
    assert.deepEqual(rows.slice(0, 6), [
      'Fairlead  3 ports',
      'PORT STATE   AGE  LAST LINE',
      'db1  up       3s  login:',
      'db2  up       3s  kernel panic ? ?',
      'sw1  down      -  (no such device)',
      '',
    ]);
  });

  it('asks the log for rows in sight only, and only when something was said since', async () => {
    const bench = rack(80, 6);
    const log = logsOf({ 'uuid-p0': new FakeLog().rx(1, 'here\n') });
    bench.context = { ...bench.context, log };
    bench.access.list = Array.from({ length: 500 }, (_, index) =>
      portStatus(`p${index}`, index === 0 ? { offset: 5 } : {}),
    );
    const screen = new Screen(bench.io);
    void bench.run('menu');
    await screen.until((rows) => rows.some((row) => row.includes('here')));
    const first = log.asked.length;
    assert.deepEqual([...new Set(log.asked)], ['uuid-p0', 'uuid-p1', 'uuid-p2']);
    bench.io.type('\x1b[F');
    await screen.until((rows) => rows.some((row) => row.startsWith('p499')));
    bench.io.type('\x12');
    while (!log.asked.includes('uuid-p499')) await new Promise(setImmediate);
    assert.deepEqual([...new Set(log.asked.slice(first))], ['uuid-p497', 'uuid-p498', 'uuid-p499']);
  });

  it('draws only what changed', async () => {
    const bench = rack();
    const { screen } = await shown(bench);
    await screen.until((rows) => rows.some((row) => row.includes('panic')));
    const before = bench.io.bytes.length;
    bench.io.type('\x1b[B');
    await bench.io.when(() => bench.io.bytes.length > before);
    assert.match((await screen.reversed())!, /^db2/);
    const drawn = bench.io.bytes.subarray(before).toString();
    assert.deepEqual(drawn.match(/\x1b\[\d+;1H/g), ['\x1b[3;1H', '\x1b[4;1H']);
  });

  it('keeps what the rack says out of the terminal, and goes on when it does not answer', async () => {
    const bench = rack();
    bench.access.list[2]!.why = '\x1b[2J\x1b]0;x\x07gone\r\n\x9b6n';
    const { screen } = await shown(bench);
    await screen.until((rows) => rows.some((row) => row.endsWith('  (gone )')));
    bench.access.fault = new Fault('TIMED_OUT', 'that part of the daemon has just ended');
    bench.io.type('\x12');
    await screen.until((rows) => rows[23] === 'that part of the daemon has just ended');
    bench.access.fault = null;
    bench.access.list.push(portStatus('new'));
    bench.io.type('\x12');
    await screen.until((rows) => rows.some((row) => row.startsWith('new')));
  });

  it('ends when its client leaves, in the list and in a session', async () => {
    const inList = rack();
    const { done } = await shown(inList);
    inList.io.abort();
    assert.equal(await done, 0);
    const inSession = rack();
    const menu = await shown(inSession);
    inSession.io.type('\r');
    await inSession.access.when(() => inSession.access.attached.length === 1);
    inSession.io.abort();
    assert.equal(await menu.done, 0);
    assert.notEqual(inSession.access.session!.detachedBecause, null);
  });

  it('ends when nobody reads it any more', async () => {
    const bench = rack();
    const { done } = await shown(bench);
    bench.io.isBroken = true;
    bench.io.type('d');
    assert.equal(await done, 0);
  });

  it('is a table in a pipe', async () => {
    const bench = rack();
    bench.io.isTerminal = false;
    assert.equal(await bench.run('menu'), 0);
    assert.match(bench.io.output, /^PORT +STATE/);
    assert.match(bench.io.errors, /ssh -t/);
    assert.doesNotMatch(bench.io.output, /\x1b/);
  });
});

describe('the keys of the menu', () => {
  function heard(...chunks: (string | null)[]): string[] {
    const pressed: string[] = [];
    const keys = new MenuKeys((key) =>
      pressed.push(key.press === 'text' ? `text ${key.text}` : key.press),
    );
    for (const chunk of chunks) keys.hear(chunk === null ? null : Buffer.from(chunk));
    keys.stop();
    return pressed;
  }

  it('are those of any terminal, in any chunking', () => {
    assert.deepEqual(heard('\x1b[A\x1bOB\x1b[5~', '\x1b', '[6~\x1b[', '1~\x1bOF'), [
      'up',
      'down',
      'page-up',
      'page-down',
      'home',
      'end',
    ]);
    assert.deepEqual(heard('db1\t\r', '\x7f\x15'), [
      'text db1',
      'tab',
      'enter',
      'erase',
      'erase-all',
    ]);
    assert.deepEqual(heard('\x03', null), ['leave', 'leave']);
  });

  it('ignore what a terminal says of itself, ALT keys and what is no text', () => {
    assert.deepEqual(heard('\x1b[?1;2c\x1b[200~é\x1bx\x00\x05'), []);
  });

  it('take a lone ESC for what it is', async () => {
    const pressed = await new Promise<string>((resolve) => {
      new MenuKeys((key) => resolve(key.press)).hear(Buffer.from('\x1b'));
    });
    assert.equal(pressed, 'escape');
  });
});

describe('the picture of the menu', () => {
  const key: fc.Arbitrary<MenuKey> = fc.oneof(
    fc
      .constantFrom(
        'up',
        'down',
        'page-up',
        'page-down',
        'home',
        'end',
        'enter',
        'tab',
        'erase',
        'escape',
        'toggle-view',
      )
      .map((press) => ({ press }) as MenuKey),
    fc.constantFrom('d', 'p1', '?', '[', 'zz').map((text): MenuKey => ({ press: 'text', text })),
  );
  const sizes = fc.record({
    columns: fc.integer({ min: 1, max: 140 }),
    rows: fc.integer({ min: 1, max: 40 }),
  });

  it('fits every screen after any keys, with the chosen port in sight', () => {
    fc.assert(
      fc.property(sizes, fc.nat(60), fc.array(key, { maxLength: 30 }), (size, count, keys) => {
        const help = ['one', 'two'.repeat(50)];
        const ports = Array.from({ length: count }, (_, index) =>
          portStatus(`p${index}${'-long'.repeat(index % 8)}`, { writer: index % 2 ? 'bob' : null }),
        );
        const lastLines = new Map([['uuid-p0', 'a line that is long enough to be cut somewhere']]);
        let state: MenuState = { ...MENU_START, ports, lastLines };
        for (const each of keys) state = scrolled(pressKey(state, each, size).state, size, help);
        const rows = drawMenu(scrolled(state, size, help), size, NOW_US, help);
        assert.equal(rows.length, size.rows);
        for (const text of rows) {
          const plain = text.replace(/\x1b\[\d*m/g, '');
          assert.match(plain, /^[ -~]*$/);
          assert.ok(plain.length < Math.max(2, size.columns), `${plain.length} ${size.columns}`);
        }
        const reversed = rows.filter((text) => text.startsWith('\x1b[7m')).length;
        const expected = state.isHelp || matchingPorts(state).length === 0 ? 0 : 1;
        assert.equal(reversed, expected);
      }),
    );
  });
});
