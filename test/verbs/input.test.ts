import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../../src/core/fault.ts';
import { InputProgress } from '../../src/verbs/input-progress.ts';
import { unescapeText } from '../../src/verbs/send.ts';
import { Bench, FakeIo, NOW_US, SSH_CALLER, portStatus } from './fakes.ts';

describe('send', () => {
  it('sends text as it is, with what is escaped, and nothing more', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('send', 'db1', 'a\\r\\n\\t\\e\\\\\\x1a', 'é'), 0);
    assert.deepEqual(bench.access.sent, Buffer.from('a\r\n\t\x1b\\\x1a é'));
  });

  it('takes for text whatever follows its first word, options before it', async () => {
    for (const [argv, sent] of [
      [['db1', 'uname', '-a'], 'uname -a'],
      [['db1', '--enter', 'ls', '--enter', '--', '-x'], 'ls --enter -- -x\r'],
      [['--enter', 'db1', 'kill', '-9', '-h'], 'kill -9 -h\r'],
      [['db1', '--', '-x'], '-x'],
    ] as const) {
      const bench = new Bench();
      assert.equal(await bench.run('send', ...argv), 0);
      assert.equal(bench.access.sent.toString(), sent);
    }
    const mistyped = new Bench();
    assert.equal(await mistyped.run('send', 'db1', '--brake', 'x'), 2);
    assert.match(mistyped.io.errors, /did you mean --break/);
    assert.deepEqual(mistyped.access.asked, []);
  });

  it('adds a carriage return when asked', async () => {
    const bench = new Bench();
    await bench.run('send', 'db1', '--enter', 'uptime');
    await bench.run('send', 'db1', '--enter');
    assert.equal(bench.access.sent.toString(), 'uptime\r\r');
  });

  it('refuses an escape it does not know, and nothing to send', async () => {
    for (const text of ['\\q', '\\x1', '\\xzz', 'end\\']) {
      assert.throws(() => unescapeText(text), { code: 'USAGE' }, text);
    }
    for (const argv of [['db1'], ['db1', '--break', 'x'], ['db1', '--file', 'f', 'x']]) {
      const bench = new Bench();
      assert.equal(await bench.run('send', ...argv), 2);
      assert.deepEqual(bench.access.asked, []);
    }
  });

  it('sends a BREAK', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('send', 'db1', '--break'), 0);
    assert.equal(await bench.run('send', 'db1', '--break', '--duration', '500'), 0);
    assert.deepEqual(bench.access.asked, ['break db1 300', 'break db1 500']);
  });

  it('passes its input on, in order and in pieces', async () => {
    const bench = new Bench({ caller: SSH_CALLER });
    const paste = Buffer.alloc(10_000, 'abcdefg');
    bench.io.type(paste).type('end').type(null);
    assert.equal(await bench.run('send', 'db1', '-'), 0);
    assert.deepEqual(bench.access.sent, Buffer.concat([paste, Buffer.from('end')]));
    assert.deepEqual(bench.access.asked[0], 'send db1 4096');
    assert.equal(bench.io.hasListener, false);
  });

  it('takes --file as input in the local shell, and refuses it over SSH', async () => {
    const local = new Bench();
    local.io.type('from a file').type(null);
    assert.equal(await local.run('send', 'db1', '--file', 'a.txt', '--enter'), 0);
    assert.equal(local.access.sent.toString(), 'from a file\r');
    const remote = new Bench({ caller: SSH_CALLER });
    assert.equal(await remote.run('send', 'db1', '--file', '/etc/passwd'), 4);
    assert.deepEqual(remote.access.asked, []);
  });

  it('shows on a terminal how far a file is, and nothing of it in a pipe', async () => {
    const bench = new Bench();
    bench.io.progress = { inputBytes: 2_000 };
    bench.io.type(Buffer.alloc(1_000, 'x')).type(Buffer.alloc(1_000, 'y')).type(null);
    assert.equal(await bench.run('send', 'db1', '--file', 'a.txt'), 0);
    assert.equal(bench.access.sent.length, 2_000);
    const drawn = bench.io.errors.split('\r').filter((line) => line !== '');
    assert.match(drawn[0]!, /^db1: \d+ of 2000 bytes \(\d+ %\)/);
    assert.match(drawn.at(-1)!, /^db1: 2000 bytes in \d+ s\x1b\[K\n$/);
    const pipe = new Bench();
    pipe.io.type(Buffer.alloc(1_000)).type(null);
    assert.equal(await pipe.run('send', 'db1', '--file', 'a.txt'), 0);
    assert.equal(pipe.io.errors, '');
  });

  it('sends at a pace of its own', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('send', 'db1', '--pace', '5,200', 'x'), 0);
    assert.equal(await bench.run('send', 'db1', '--pace', '0.5', 'x'), 0);
    bench.io.type('file').type(null);
    assert.equal(await bench.run('send', 'db1', '--pace', '7', '-'), 0);
    assert.deepEqual(bench.access.asked, [
      'send db1 1 at 5/200 ms',
      'send db1 1 at 0.5/0 ms',
      'send db1 4 at 7/0 ms',
    ]);
    for (const wrong of ['slow', '5,', '-1', '']) {
      assert.equal(await bench.run('send', 'db1', `--pace=${wrong}`, 'x'), 2, wrong);
    }
  });

  it('stops when the caller leaves in the middle', async () => {
    const bench = new Bench();
    const done = bench.run('send', 'db1', '-');
    await bench.io.when(() => bench.io.hasListener);
    bench.io.abort();
    assert.equal(await done, 5);
  });
});

describe('send to several', () => {
  function rack(): Bench {
    const bench = new Bench();
    bench.access.list = [
      portStatus('db1'),
      portStatus('db2', { group: 'rack3' }),
      portStatus('web1', { aliases: ['front'] }),
    ];
    return bench;
  }

  it('lists them first, and takes --yes in a pipe', async () => {
    const bench = rack();
    assert.equal(await bench.run('send', 'db*,front', 'x'), 2);
    assert.deepEqual(bench.access.asked, []);
    assert.match(bench.io.errors, /^to db1, db2, web1\n.*--yes/);
    assert.equal(await bench.run('send', '--yes', 'db*,front', 'xy'), 0);
    assert.deepEqual(bench.access.asked, ['send db1 2', 'send db2 2', 'send web1 2']);
  });

  it('asks on a terminal, and takes anything but yes for no', async () => {
    for (const [answer, code] of [
      ['y\r', 0],
      ['Yes\r', 0],
      ['\r', 2],
      ['n\r', 2],
      ['yellow\r', 2],
      ['y\x7fn\r', 2],
      ['y\x03', 2],
    ] as const) {
      const bench = rack();
      bench.io.isTerminal = true;
      const done = bench.run('send', 'db*', 'x');
      await bench.io.when(() => bench.io.errors.includes('[y/N]'));
      bench.io.type(answer);
      assert.equal(await done, code, JSON.stringify(answer));
      assert.match(bench.io.errors, /^to db1, db2\nsend to 2 ports\? \[y\/N\] /);
      assert.equal(bench.access.asked.length, code === 0 ? 2 : 0);
      assert.equal(bench.io.hasListener, false);
    }
  });

  it('asks nobody when a list means one port', async () => {
    const bench = rack();
    assert.equal(await bench.run('send', '@rack3', 'x'), 0);
    assert.deepEqual(bench.access.asked, ['send db2 1']);
  });

  it('goes on past one that fails, and says which', async () => {
    const bench = rack();
    bench.access.faults.set('db1', new Fault('DENIED', 'bob may not write on db1'));
    bench.access.faults.set('db2', new Fault('PORT_DOWN', 'db2 is down'));
    assert.equal(await bench.run('send', '-y', 'db*,web1', 'x'), 4);
    assert.match(
      bench.io.errors,
      /fairlead: db1: bob may not write on db1\nfairlead: db2: db2 is down\n$/,
    );
    assert.equal(bench.access.sent.toString(), 'x');
  });

  it('streams its input to all, without those that failed, and never takes it for an answer', async () => {
    const bench = rack();
    bench.access.faults.set('db1', new Fault('PORT_STUCK', 'stuck'));
    bench.io.type('y\n').type('two').type(null);
    bench.io.isTerminal = true;
    assert.equal(await bench.run('send', '@rack3,web1', '-'), 2);
    assert.deepEqual(bench.access.asked, []);
    assert.equal(await bench.run('send', '--yes', 'db*', '-'), 5);
    assert.deepEqual(bench.access.asked, ['send db1 2', 'send db2 2', 'send db2 3']);
  });

  it('names the nearest for what means none', async () => {
    const bench = rack();
    assert.equal(await bench.run('send', 'web2*', 'x'), 3);
    assert.match(bench.io.errors, /no port matches "web2\*"; did you mean "web1"/);
    assert.equal(await bench.run('send', 'db1,,db2', '--yes', 'x'), 3);
    assert.equal(await bench.run('send', '@rack4', 'x'), 3);
    assert.match(bench.io.errors, /did you mean "@rack3"/);
    assert.deepEqual(bench.access.asked, []);
  });
});

describe('send --sysrq', () => {
  it('is a BREAK and the key, by letter, digit or name', async () => {
    for (const [word, label, key] of [
      ['s', 'sysrq s (sync)', 's'],
      ['show-blocked', 'sysrq w (show-blocked)', 'w'],
      ['9', 'sysrq 9 (loglevel 9)', '9'],
      ['LogLevel-7', 'sysrq 7 (loglevel 7)', '7'],
      ['y', 'sysrq y', 'y'],
    ] as const) {
      const bench = new Bench();
      assert.equal(await bench.run('send', 'db1', '--sysrq', word), 0);
      const steps = `break 300, wait 100, send ${key}`;
      assert.deepEqual(bench.access.asked, [`run db1 ${label}: ${steps}`]);
    }
  });

  it('asks before it ends something', async () => {
    for (const word of ['crash', 'reboot', 'poweroff', 'term', 'kill', 'b', 'c', 'e', 'i', 'o']) {
      const bench = new Bench();
      assert.equal(await bench.run('send', 'db1', '--sysrq', word), 2, word);
      assert.match(bench.io.errors, /sysrq . \(.*\) to db1 must be confirmed: give --yes/);
      assert.deepEqual(bench.access.asked, []);
      assert.equal(await bench.run('send', '--yes', 'db1', '--sysrq', word), 0);
      assert.equal(bench.access.asked.length, 1);
    }
  });

  it('names the nearest for what is no key', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('send', 'db1', '--sysrq', 'rebot'), 2);
    assert.match(bench.io.errors, /did you mean "reboot"/);
    assert.equal(await bench.run('send', 'db1', '--sysrq', '\x1b'), 2);
    assert.deepEqual(bench.access.asked, []);
  });
});

describe('line', () => {
  it('shows the settings', async () => {
    const bench = new Bench();
    bench.access.list = [portStatus('db1', { line: '9600 7E1', differs: true })];
    assert.equal(await bench.run('line', 'db1'), 0);
    assert.equal(bench.io.output, '9600 7E1 (differs from file)\n');
  });

  it('changes them, quoted or not', async () => {
    const bench = new Bench();
    await bench.run('line', 'db1', '9600 7E1');
    await bench.run('line', 'db1', '9600', '8N1', '--flow', 'rtscts');
    await bench.run('line', 'db1', '--flow', 'none');
    assert.deepEqual(bench.access.asked, [
      'line db1 9600 7E1 null',
      'line db1 9600 8N1 rtscts',
      'line db1 115200 8N1 none',
    ]);
  });

  it('refuses what is no setting', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('line', 'db1', 'fast'), 2);
    assert.equal(await bench.run('line', 'db1', '--flow', 'maybe'), 2);
    bench.access.list = [portStatus('db1', { line: null, backend: 'tcp' })];
    assert.equal(await bench.run('line', 'db1'), 5);
    assert.deepEqual(bench.access.asked, []);
  });
});

describe('people', () => {
  it('who: sessions, with how long ago they typed', async () => {
    const bench = new Bench();
    bench.access.sessions = [
      {
        session: 42,
        port: 'db1',
        user: 'bob',
        remote: '192.0.2.7:1',
        frontend: 'ssh',
        mode: 'write',
        attachedAtUs: NOW_US - 3_600_000_000,
        lastInputAtUs: NOW_US - 5_000_000,
      },
    ];
    assert.equal(await bench.run('who'), 0);
    assert.match(bench.io.output, /^SESSION +PORT +USER +MODE +SINCE +IDLE +BY +FROM$/m);
    assert.match(bench.io.output, /^ +42 +db1 +bob +write +1h +5s +ssh +192\.0\.2\.7:1$/m);
    const json = new Bench();
    await json.run('who', '--json');
    assert.deepEqual(JSON.parse(json.io.output), []);
    await json.run('who');
    assert.equal(json.io.errors, 'nobody is attached\n');
  });

  it('who: on some ports only, and idle since they came if they typed nothing', async () => {
    const bench = new Bench();
    const common = { user: 'bob', remote: 'r', frontend: 'ssh', mode: 'view' as const };
    const times = { attachedAtUs: NOW_US - 120_000_000, lastInputAtUs: null };
    bench.access.list = [portStatus('db1'), portStatus('db2'), portStatus('sw1')];
    bench.access.sessions = [
      { ...common, ...times, session: 1, port: 'db2' },
      { ...common, ...times, session: 2, port: 'sw1' },
    ];
    assert.equal(await bench.run('who', 'db*'), 0);
    assert.match(bench.io.output, /^ +1 +db2 +bob +view +2m +2m +ssh +r$/m);
    assert.doesNotMatch(bench.io.output, /sw1/);
    assert.equal(await bench.run('who', 'dbx'), 3);
    assert.match(bench.io.errors, /did you mean/);
  });

  it('kick: by number', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('kick', '42'), 0);
    assert.deepEqual(bench.access.asked, ['kick 42']);
    assert.equal(await bench.run('kick', 'bob'), 2);
  });

  it('message: to a port or to all, with nothing in it a terminal acts on', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('message', 'db1', 'down', 'at\x1b]0;x\x07', '5'), 0);
    assert.equal(bench.io.output, '2 sessions heard it\n');
    assert.equal(await bench.run('message', '--all', 'all', 'down'), 0);
    assert.equal(await bench.run('message', '42', 'are', 'you', '-', 'there', '--all'), 0);
    assert.deepEqual(bench.access.asked, [
      'message {"port":"db1"} down at 5',
      'message "all" all down',
      'message {"session":42} are you - there --all',
    ]);
    assert.equal(await bench.run('message', 'db1'), 2);
  });

  it('mark: a remark in the log, on one line', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('mark', 'db1', 'new DIMM\n\x1b[2Jin', '--slot 4'), 0);
    assert.deepEqual(bench.access.asked, ['note db1 new DIMM in --slot 4']);
    assert.equal(await bench.run('mark', 'db1', ' \x1b[0m'), 2);
    assert.equal(await bench.run('mark', 'db1'), 2);
  });
});

describe('user', () => {
  it('add: asks for the password twice and does not show it', async () => {
    const bench = new Bench();
    bench.io.isTerminal = true;
    const done = bench.run('user', 'add', 'bob', '--role', 'operator', '--ports', 'db*,@rack3');
    await bench.io.when(() => bench.io.errors.includes('New password for bob: '));
    assert.equal(bench.io.isRaw, true);
    bench.io.type('secr\x7fre').type('t\r');
    await bench.io.when(() => bench.io.errors.includes('Again: '));
    bench.io.type('secret\r');
    assert.equal(await done, 0);
    assert.deepEqual(bench.local.asked, [
      [
        'add',
        {
          name: 'bob',
          role: 'operator',
          ports: ['db*', '@rack3'],
          keys: [],
          unix: null,
          password: 'secret',
        },
      ],
    ]);
    assert.doesNotMatch(bench.io.output + bench.io.errors, /secr/);
    assert.equal(bench.io.hasListener, false);
  });

  it('add: asks for none when there is a key', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('user', 'add', 'bob', '--role', 'view', '--key', 'ssh-x A'), 0);
    assert.match(JSON.stringify(bench.local.asked), /"keys":\["ssh-x A"\].*"password":null/);
  });

  it('passwd: refuses two that differ, an empty one and an interrupt', async () => {
    for (const typed of ['one\rtwo\r', '\r', 'on\x03']) {
      const bench = new Bench();
      bench.io.isTerminal = true;
      bench.io.type(typed);
      assert.equal(await bench.run('user', 'passwd', 'bob'), 2, typed);
      assert.deepEqual(bench.local.asked, []);
    }
  });

  it('hash: prints what the configuration file takes, and changes nothing', async () => {
    const bench = new Bench();
    bench.io.type('secret\n').type(null);
    assert.equal(await bench.run('user', 'hash', '--password-stdin'), 0);
    assert.equal(bench.io.output, 'hash of secret\n');
    assert.deepEqual(bench.local.asked, []);
  });

  it('passwd: takes the first line of the input', async () => {
    for (const input of ['pass word\nmore\n', 'pass word\r\n', 'pass word']) {
      const bench = new Bench();
      bench.io.type(input).type(null);
      assert.equal(await bench.run('user', 'passwd', 'bob', '--password-stdin'), 0);
      assert.deepEqual(bench.local.asked, [['passwd', { name: 'bob', password: 'pass word' }]]);
    }
    const noTerminal = new Bench();
    assert.equal(await noTerminal.run('user', 'passwd', 'bob'), 2);
    assert.match(noTerminal.io.errors, /--password-stdin/);
  });

  it('list and remove', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('user', 'list'), 0);
    assert.match(bench.io.output, /^bob +operator +1 +yes +database +db\*,@rack3$/m);
    assert.equal(await bench.run('user', 'remove', 'bob'), 0);
    assert.deepEqual(bench.local.asked, [['remove', 'bob']]);
  });

  it('refuses what it cannot do', async () => {
    const wrong = [['frobnicate'], ['add'], ['add', 'bob'], ['add', '12', '--role', 'view'], []];
    for (const argv of wrong) assert.equal(await new Bench().run('user', ...argv), 2);
  });
});

describe('the progress of an input', () => {
  async function drawn(inputBytes: number | null, steps: [number, number][]): Promise<string[]> {
    const io = new FakeIo();
    io.progress = { inputBytes };
    let nowMs = 0;
    const progress = new InputProgress(io, 'db1', () => nowMs);
    for (const [afterMs, bytes] of steps) {
      nowMs += afterMs;
      await progress.add(bytes);
    }
    await progress.end();
    return io.errors.split(/\r|\x1b\[K\n?/).filter((text) => text !== '');
  }

  it('is bytes, share, rate and the time that is left', async () => {
    const lines = await drawn(100_000, [
      [1_000, 1_000],
      [50, 50], // too soon
      [950, 950],
      [60_000, 48_000],
    ]);
    assert.deepEqual(lines, [
      'db1: 1000 of 100000 bytes (1 %), 1000 B/s, 1 min 39 s left',
      'db1: 2000 of 100000 bytes (2 %), 1000 B/s, 1 min 38 s left',
      'db1: 50000 of 100000 bytes (50 %), 800 B/s, 1 min 3 s left',
      'db1: 50000 bytes in 1 min 2 s',
    ]);
  });

  it('has neither share nor time where nobody knows how much there is', async () => {
    const lines = await drawn(null, [[2_000, 500]]);
    assert.deepEqual(lines, ['db1: 500 bytes, 250 B/s', 'db1: 500 bytes in 2 s']);
  });
});
