import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import type { SFTPWrapper } from 'ssh2';
import type { LogRecord } from '../../src/core/record.ts';
import { refuseOldScp } from '../../src/frontends/ssh/sftp.ts';
import { LogFormatter } from '../../src/log/format.ts';
import { NOON_US } from '../store/store-support.ts';
import { DAY_US, SftpDoor } from './sftp-door.ts';

const MIDNIGHT_US = NOON_US - DAY_US / 2;

describe('sftp of the log', () => {
  let door: SftpDoor;
  /** What db1 said on 17 and 19 November, and today, the 20th. */
  let records: LogRecord[];

  before(async () => {
    door = new SftpDoor(['db1', 'sw1', 'new1']);
    const first = door.fill('db1', MIDNIGHT_US - 3 * DAY_US + 3_600_000_000, (writer) => {
      writer.write({ kind: 'up', detail: 'opened' });
      writer.rx('\x1b[31mred\x1b[0m alert\r\nno end', 1_000_000);
      writer.chatter(700);
    });
    const second = door.fill('db1', MIDNIGHT_US - DAY_US, (writer) => {
      writer.rx('first of the 19th\r\n', 0);
      const { offset } = writer.position;
      writer.write({
        kind: 'gap',
        from: offset,
        to: offset + 50,
        count: 50,
        reason: 'spool full',
        seqs: 1,
      });
      writer.rx('last of the 19th\r\n', DAY_US - 2_000_000);
    });
    door.rig.store.sealAll();
    const third = door.fill('db1', NOON_US - 60_000_000, (writer) => writer.rx('login: '));
    records = [...first.records, ...second.records, ...third.records];
    door.fill('sw1', NOON_US, (writer) => writer.rx('switch\r\n'));
    await door.start();
  });
  after(() => door.stop());

  const local = (name: string) => join(door.directory, name);
  const ofDay = (day: number) =>
    records.filter(({ atUs }) => Math.floor((atUs - MIDNIGHT_US) / DAY_US) === day - 20);
  const rawOf = (day: number) => rawBytes(ofDay(day));

  describe("with OpenSSH's programs", () => {
    it('gets a day as the bytes the port said, and as text', async () => {
      const { code, output } = await door.sftp([
        'get /db1/2026-11-17.raw 17.raw',
        'get /db1/2026-11-17.log 17.log',
        'get /db1/2026-11-19.log 19.log',
      ]);
      assert.equal(code, 0, output);
      assert.deepEqual(readFileSync(local('17.raw')), rawOf(17));
      assert.ok(rawOf(17).length > 700_000);
      assert.deepEqual(readFileSync(local('17.log')), textOf(ofDay(17)));
      assert.match(
        readFileSync(local('17.log'), 'utf8'),
        /^\[fairlead [^\n]* up: opened\]\nred alert\n/,
      );
      assert.match(readFileSync(local('19.log'), 'utf8'), /gap: 50 bytes missing \(spool full\)/);
    });

    it('lists ports, incidents, and the days that have records', async () => {
      const { code, output } = await door.sftp(['ls -1 /', 'ls -1 /db1', 'ls -1 /incidents']);
      assert.equal(code, 0, output);
      const names = output.split('\n').filter((line) => line.startsWith('/'));
      const days = ['2026-11-17', '2026-11-19', '2026-11-20'];
      assert.deepEqual(names, [
        ...['/db1', '/incidents', '/new1', '/sw1'],
        ...days.flatMap((day) => [`/db1/${day}.log`, `/db1/${day}.raw`]),
        '/db1/live.log',
      ]);
    });

    it('tells size, time and mode', async () => {
      const { output } = await door.sftp(['ls -l /', 'ls -l /db1', 'ls -l /db1/2026-11-19.raw']);
      assert.match(output, /^dr-xr-xr-x .* Nov 20 2026 11:59 db1$/m);
      const size = rawOf(17).length;
      assert.match(
        output,
        new RegExp(`^-r--r--r-- .* ${size} Nov 17 2026 23:59 2026-11-17\\.raw$`, 'm'),
      );
      assert.match(output, /^-r--r--r-- .* Nov 19 .*2026-11-19\.raw$/m);
    });

    it('copies a port with scp -r', async () => {
      const { code, output } = await door.scp(['-r', 'alice@127.0.0.1:/db1', 'copied']);
      assert.equal(code, 0, output);
      assert.deepEqual(readdirSync(local('copied')).sort(), [
        ...['2026-11-17.log', '2026-11-17.raw', '2026-11-19.log', '2026-11-19.raw'],
        ...['2026-11-20.log', '2026-11-20.raw', 'live.log'],
      ]);
      assert.deepEqual(readFileSync(local('copied/2026-11-17.raw')), rawOf(17));
      assert.deepEqual(readFileSync(local('copied/2026-11-19.raw')), rawOf(19));
      assert.deepEqual(readFileSync(local('copied/2026-11-17.log')), textOf(ofDay(17)));
      assert.equal(readFileSync(local('copied/live.log'), 'utf8'), 'login: ');
    });

    it('copies one file with scp', async () => {
      const { code, output } = await door.scp(['alice@127.0.0.1:db1/2026-11-19.log', 'one.log']);
      assert.equal(code, 0, output);
      assert.deepEqual(readFileSync(local('one.log')), textOf(ofDay(19)));
    });

    it('takes an interrupted copy up again', async () => {
      for (const [name, whole] of [
        ['2026-11-17.raw', rawOf(17)],
        ['2026-11-17.log', textOf(ofDay(17))],
      ] as const) {
        writeFileSync(local('part'), whole.subarray(0, 300_001));
        const { code, output } = await door.sftp([`reget /db1/${name} part`]);
        assert.equal(code, 0, output);
        assert.deepEqual(readFileSync(local('part')), whole);
      }
    });

    it('refuses whatever would change something', async () => {
      writeFileSync(local('mine'), 'mine');
      for (const command of [
        'put mine /db1/2026-11-17.log',
        'put mine /db1/new',
        'rm /db1/2026-11-17.log',
        'rmdir /db1',
        'mkdir /db2',
        'rename /db1 /db2',
        'chmod 777 /db1',
        'ln -s /db1 /db2',
      ]) {
        const { code, output } = await door.sftp([command]);
        assert.equal(code, 1, command);
        assert.match(output, /[Pp]ermission denied/, command);
      }
    });

    it('has no file but those it lists', async () => {
      for (const path of [
        '/db1/2026-11-18.log',
        '/db1/2026-11-31.log',
        '/db1/20.log',
        '/db1/2026-11-17.log/more',
        '/oracle/live.log',
        '/db/live.log',
        '/../../etc/passwd',
        '/db1/../../../../etc/passwd',
        '/incidents/1',
      ]) {
        const { code, output } = await door.sftp([`get ${path} none`]);
        assert.equal(code, 1, path);
        assert.match(output, /not found/i, path);
      }
      assert.ok(!existsSync(local('none')));
    });

    it('compares names of ports without case, and stays inside', async () => {
      const { code, output } = await door.sftp([
        'cd /../../DB1/',
        'pwd',
        'get ./../Sw1/live.log sw1',
      ]);
      assert.equal(code, 0, output);
      assert.match(output, /working directory: \/db1$/m);
      assert.equal(readFileSync(local('sw1'), 'utf8'), 'switch\n');
    });

    it('shows a user the ports that user may view', async () => {
      const { output } = await door.sftp(['ls -1 /'], 'bob');
      assert.deepEqual(output.split('\n').slice(1, -1), ['/incidents', '/sw1']);
      const denied = await door.sftp(['get /db1/live.log none'], 'bob');
      assert.equal(denied.code, 1);
      assert.ok(!existsSync(local('none')));
    });
  });

  describe('with a client that asks for odd things', () => {
    let sftp: Calls;
    before(async () => (sftp = callsOf(await door.connectSftp())));

    it('answers reads out of order, before and beyond', async () => {
      const whole = textOf(ofDay(17));
      const handle = await sftp.open('/db1/2026-11-17.log', 'r');
      for (const offset of [600_000, 0, 599_999, 5, 650_000, 100_000]) {
        assert.deepEqual(
          await sftp.read(handle, offset, 1_000),
          whole.subarray(offset, offset + 1_000),
        );
      }
      assert.equal((await sftp.read(handle, whole.length, 1)).length, 0);
      assert.equal((await sftp.read(handle, Number.MAX_SAFE_INTEGER - 5, 1)).length, 0);
      assert.deepEqual(await sftp.read(handle, whole.length - 1, 9), whole.subarray(-1));
      await sftp.close(handle);
      await assert.rejects(sftp.read(handle, 0, 1), { code: 4 });
    });

    it('tells the exact size of text and bytes, gaps or not', async () => {
      for (const [day, name] of [
        [17, '2026-11-17'],
        [19, '2026-11-19'],
      ] as const) {
        assert.equal((await sftp.stat(`/db1/${name}.log`)).size, textOf(ofDay(day)).length);
        assert.equal((await sftp.stat(`/db1/${name}.raw`)).size, rawOf(day).length);
      }
      assert.equal((await sftp.stat('/db1')).isDirectory(), true);
    });

    it('gives later reads of the live log what came since', async () => {
      const handle = await sftp.open('/new1/live.log', 'r');
      assert.equal((await sftp.read(handle, 0, 100)).length, 0);
      assert.equal((await sftp.stat('/new1/live.log')).size, 0);
      door.fill('new1', NOON_US, (writer) => writer.rx('half a li'));
      assert.equal((await sftp.read(handle, 0, 100)).toString(), 'half a li');
      assert.equal((await sftp.read(handle, 9, 100)).length, 0);
      door.fill('new1', NOON_US + 1_000_000, (writer) => writer.rx('ne\r\n'));
      assert.equal((await sftp.read(handle, 9, 100)).toString(), 'ne\n');
      assert.equal((await sftp.stat('/new1/live.log')).size, 12);
      await sftp.close(handle);
    });

    it('holds 32 files open, and goes on when one is closed', async () => {
      const handles: Buffer[] = [];
      for (let i = 0; i < 32; i++) handles.push(await sftp.open('/db1/live.log', 'r'));
      await assert.rejects(sftp.open('/db1/live.log', 'r'), /at most 32 files/);
      await assert.rejects(sftp.opendir('/db1'), /at most 32 files/);
      await sftp.close(handles.pop()!);
      handles.push(await sftp.open('/db1/live.log', 'r'));
      for (const handle of handles) await sftp.close(handle);
    });

    it('refuses names that cannot be, and journals them', async () => {
      const before = door.services.journal.lines.length;
      await assert.rejects(sftp.stat('/db1/a\x1b]0;pwned\x07'), { code: 2 });
      await assert.rejects(sftp.stat(`/${'y'.repeat(65_536)}`), { code: 2 });
      await assert.rejects(sftp.stat('/db1\0/live.log'), { code: 2 });
      const lines = door.services.journal.lines.slice(before);
      const refused = lines.filter(({ message }) => message === 'sftp name refused');
      assert.equal(refused.length, 3);
      assert.deepEqual(
        refused.map(({ user }) => user),
        ['alice', 'alice', 'alice'],
      );
      await assert.rejects(sftp.readlink('/db1'), { code: 2 });
      await assert.rejects(sftp.open('/db1', 'r'), /directory/);
      await assert.rejects(sftp.opendir('/db1/live.log'), /directory/);
    });

    it('says so where the log cannot be read, and serves the rest', async () => {
      const handle = await sftp.open('/db1/2026-11-17.raw', 'r');
      const real = door.log.read;
      door.log.read = () => Promise.reject(new TypeError('a bug'));
      await assert.rejects(sftp.read(handle, 0, 100), { code: 4 });
      door.log.read = real;
      assert.deepEqual(await sftp.read(handle, 0, 100), rawOf(17).subarray(0, 100));
      await door.services.journal.said('sftp request failed');
      await sftp.close(handle);
    });
  });

  describe('with a client that means harm', () => {
    it('reads no more requests than it answers', async () => {
      const client = await door.client();
      const channel = await promisify(client.subsys.bind(client))('sftp');
      const calls = callsOf(await promisify(client.sftp.bind(client))());
      // The log does not answer any more: whatever is sent now waits.
      let asked = 0;
      const real = door.log.ports;
      door.log.ports = () => new Promise(() => asked++);
      channel.write(greeting());
      const flood = Buffer.concat(Array.from({ length: 10_000 }, (_, id) => stat(id, '/db1')));
      let sentBytes = 0;
      let isStuck = false;
      while (!isStuck && sentBytes < 20_000_000) {
        isStuck = true;
        channel.write(flood, () => (isStuck = false)); // not called while its window is spent
        sentBytes += flood.length;
        for (let i = 0; i < 10; i++) await calls.realpath('/');
      }
      door.log.ports = real;
      assert.ok(isStuck, `it took ${sentBytes} bytes`);
      assert.equal(asked, 1);
      client.destroy();
    });

    it('answers no more than the client takes', async () => {
      const client = await door.client();
      const channel = await promisify(client.subsys.bind(client))('sftp');
      const calls = callsOf(await promisify(client.sftp.bind(client))());
      let answered = 0;
      const real = door.log.ports;
      door.log.ports = (...given) => {
        answered++;
        return real(...given);
      };
      channel.pause();
      channel.write(greeting());
      channel.write(open(1, '/db1/2026-11-17.raw'));
      // 100 MB of bytes asked for, and as many times what counts.
      for (let id = 2; id < 1_600; id++) {
        channel.write(Buffer.concat([read(id, '1', 0, 65_536), stat(id, '/db1')]));
      }
      for (let before = -1, same = 0; same < 10;) {
        await calls.realpath('/');
        same = answered === before ? same + 1 : 0;
        before = answered;
      }
      door.log.ports = real;
      assert.ok(answered > 10 && answered < 100, `it answered ${answered} times`);
      client.destroy();
    });

    it('ends a channel that makes no sense, and only that', async () => {
      const bystander = callsOf(await door.connectSftp());
      for (const nonsense of [
        Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3]),
        Buffer.from([0, 0, 0, 0]),
        Buffer.from('GET / HTTP/1.0\r\n\r\n'),
        stat(1, '/'),
        Buffer.concat([greeting(), greeting()]),
      ]) {
        const client = await door.client();
        const channel = await promisify(client.subsys.bind(client))('sftp');
        channel.resume();
        const closed = new Promise((resolve) => channel.once('close', resolve));
        channel.write(nonsense);
        await closed;
        client.end();
      }
      assert.ok((await bystander.stat('/db1')).isDirectory());
    });

    it('lets go of a client that leaves in the middle', async () => {
      const client = await door.client();
      const sftp = await promisify(client.sftp.bind(client))();
      const calls = callsOf(sftp);
      const handle = await calls.open('/db1/2026-11-17.raw', 'r');
      const errorsBefore = door.services.journal.lines.filter(({ level }) => level === 'error');
      calls.read(handle, 0, 100).catch(() => undefined);
      client.destroy();
      const other = callsOf(await door.connectSftp());
      assert.equal((await other.stat('/db1/2026-11-17.raw')).size, rawOf(17).length);
      const errors = door.services.journal.lines.filter(({ level }) => level === 'error');
      assert.deepEqual(errors, errorsBefore);
    });
  });
});

describe('the old scp', () => {
  it('is refused with what to do', () => {
    for (const words of [
      ['scp', '-f', '/db1'],
      ['scp', '-r', '-t', '--', '.'],
      ['scp', '-vrpf', 'x'],
    ]) {
      assert.match(refuseOldScp(words)!, /leave -O out/);
    }
    assert.equal(refuseOldScp(['scp']), null);
    assert.equal(refuseOldScp(['log', 'db1', '-f']), null);
    assert.equal(refuseOldScp([]), null);
  });
});

function rawBytes(records: readonly LogRecord[]): Buffer {
  return Buffer.concat(
    records.map((record) => (record.kind === 'rx' ? record.bytes : Buffer.alloc(0))),
  );
}

function textOf(records: readonly LogRecord[]): Buffer {
  const formatter = new LogFormatter('text', { timeZone: 'UTC', tx: false });
  return Buffer.concat([formatter.push(records), formatter.end()]);
}

function greeting(): Buffer {
  return Buffer.from([0, 0, 0, 5, 1, 0, 0, 0, 3]);
}

function stat(id: number, path: string): Buffer {
  const packet = Buffer.alloc(13 + path.length);
  packet.writeUInt32BE(packet.length - 4);
  packet[4] = 17;
  packet.writeUInt32BE(id, 5);
  packet.writeUInt32BE(path.length, 9);
  packet.write(path, 13, 'latin1');
  return packet;
}

function open(id: number, path: string): Buffer {
  const packet = Buffer.alloc(21 + path.length);
  stat(id, path).copy(packet);
  packet.writeUInt32BE(packet.length - 4);
  packet[4] = 3;
  packet.writeUInt32BE(1, 13 + path.length);
  return packet;
}

function read(id: number, handle: string, offset: number, length: number): Buffer {
  const packet = Buffer.alloc(25 + handle.length);
  stat(id, handle).copy(packet);
  packet.writeUInt32BE(packet.length - 4);
  packet[4] = 5;
  packet.writeUInt32BE(offset, 17 + handle.length);
  packet.writeUInt32BE(length, 21 + handle.length);
  return packet;
}

/** ssh2's sftp client by promises. */
function callsOf(sftp: SFTPWrapper) {
  return {
    open: (path: string, mode: string) =>
      new Promise<Buffer>((resolve, reject) =>
        sftp.open(path, mode as 'r', (error, handle) => (error ? reject(error) : resolve(handle))),
      ),
    opendir: promisify(sftp.opendir.bind(sftp)),
    close: promisify(sftp.close.bind(sftp)),
    stat: promisify(sftp.stat.bind(sftp)),
    realpath: promisify(sftp.realpath.bind(sftp)),
    readlink: promisify(sftp.readlink.bind(sftp)),
    /** One request; empty at the end. */
    read: (handle: Buffer, offset: number, length: number) =>
      new Promise<Buffer>((resolve, reject) => {
        const into = Buffer.alloc(length);
        sftp.read(handle, into, 0, length, offset, (error, count) =>
          error ? reject(error) : resolve(into.subarray(0, count)),
        );
      }),
  };
}

type Calls = ReturnType<typeof callsOf>;
