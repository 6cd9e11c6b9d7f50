import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import net from 'node:net';
import { getPriority, setPriority, tmpdir } from 'node:os';
import path from 'node:path';
import tty from 'node:tty';
import { after, before, describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import type { Libc } from '../../src/core/libc.ts';
import { ICOUNTER, RS485 } from '../../src/native/constants.ts';
import { readCounters, readRs485, writeRs485 } from '../../src/native/libc.ts';
import { requireLibc, until } from '../support/pty.ts';

describe('libc', () => {
  let libc: Libc;
  let directory: string;

  before(async () => {
    libc = await requireLibc();
    directory = mkdtempSync(path.join(tmpdir(), 'fairlead-libc-'));
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  /** A pty pair, both ends raw; the slave opened like a device. */
  function openPair(): { master: number; slave: number; slavePath: string; close: () => void } {
    const { masterFd, slavePath } = libc.openPty(80, 24);
    const slave = openSync(slavePath, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
    libc.makeRaw(slave);
    const close = (): void => {
      closeSync(slave);
      closeSync(masterFd);
    };
    return { master: masterFd, slave, slavePath, close };
  }

  describe('mapShared', () => {
    it('shows in the file what is read straight into the mapping, and the other way round', () => {
      const file = path.join(directory, 'ring');
      const fd = openSync(file, 'w+');
      writeSync(fd, Buffer.alloc(65_536));
      const memory = libc.mapShared(fd, 65_536);
      assert.equal(memory.length, 65_536);
      const source = path.join(directory, 'source');
      const sourceFd = openSync(source, 'w+');
      writeSync(sourceFd, Buffer.from('captured'));
      assert.equal(readSync(sourceFd, memory, 4_000, 100, 0), 8);
      assert.equal(readFileSync(file).toString('latin1', 4_000, 4_008), 'captured');
      writeSync(fd, Buffer.from('by write'), 0, 8, 9_000);
      assert.equal(memory.toString('latin1', 9_000, 9_008), 'by write');
      closeSync(sourceFd);
      closeSync(fd);
    });

    it('shares the file with a mapping in a worker', async () => {
      const file = path.join(directory, 'shared');
      const fd = openSync(file, 'w+');
      writeSync(fd, Buffer.alloc(8_192));
      const memory = libc.mapShared(fd, 8_192);
      memory.write('from main', 0);
      const worker = new Worker(
        `const { parentPort, workerData } = require('node:worker_threads');
         const fs = require('node:fs');
         import(workerData.libc).then(async ({ loadLibc }) => {
           const libc = await loadLibc();
           const fd = fs.openSync(workerData.file, 'r+');
           const memory = libc.mapShared(fd, 8192);
           const seen = memory.toString('latin1', 0, 9);
           const source = fs.openSync('/proc/self/comm', 'r');
           const count = fs.readSync(source, memory, 4096, 64, null);
           parentPort.postMessage({ seen, count, thread: libc.threadId() });
         });`,
        {
          eval: true,
          workerData: {
            file,
            libc: new URL('../../src/native/libc.js', import.meta.url).href,
          },
        },
      );
      const [answer] = (await once(worker, 'message')) as [
        { seen: string; count: number; thread: number },
      ];
      assert.equal(answer.seen, 'from main');
      assert.ok(answer.count > 0);
      assert.ok(memory.subarray(4096, 4096 + answer.count).every((byte) => byte !== 0));
      assert.notEqual(answer.thread, libc.threadId());
      await worker.terminate();
      closeSync(fd);
    });

    it('names the error when the file cannot be mapped', () => {
      assert.throws(() => libc.mapShared(-1, 4_096), { code: 'EBADF' });
    });
  });

  describe('ptys and ttys', () => {
    it('opens a pty whose ends are joined, raw', async () => {
      const pair = openPair();
      writeSync(pair.master, 'from the device\r');
      const buffer = Buffer.alloc(64);
      await until(() => libc.inputWaiting(pair.slave) === 16, '16 bytes in the slave');
      assert.equal(readSync(pair.slave, buffer), 16);
      assert.equal(buffer.toString('latin1', 0, 16), 'from the device\r');
      writeSync(pair.slave, 'back\n');
      await until(() => libc.inputWaiting(pair.master) === 5, '5 bytes in the master');
      const count = readSync(pair.master, buffer);
      assert.equal(buffer.toString('latin1', 0, count), 'back\n');
      pair.close();
    });

    it('never blocks on the master and passes it to no child', () => {
      const pair = openPair();
      assert.throws(() => readSync(pair.master, Buffer.alloc(1)), { code: 'EAGAIN' });
      const flags = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${pair.master}`, 'utf8'));
      assert.ok((Number.parseInt(flags![1]!, 8) & 0o2000000) !== 0, 'O_CLOEXEC');
      pair.close();
    });

    it('tells while a slave is open or has left something, for many at once', () => {
      const pair = openPair();
      const other = openPair();
      const masters = [pair.master, other.master];
      const idle = { isReadable: false, isHungUp: false };
      assert.deepEqual(libc.poll([]), []);
      assert.deepEqual(libc.poll(masters), [idle, idle]);
      writeSync(other.slave, 'last words');
      closeSync(other.slave);
      assert.deepEqual(libc.poll(masters), [idle, { isReadable: true, isHungUp: true }]);
      assert.equal(readSync(other.master, Buffer.alloc(64)), 10);
      assert.deepEqual(libc.poll(masters), [idle, { isReadable: false, isHungUp: true }]);
      const again = openSync(other.slavePath, constants.O_RDWR | constants.O_NOCTTY);
      assert.deepEqual(libc.poll(masters), [idle, idle]);
      closeSync(again);
      closeSync(other.master);
      pair.close();
    });

    it('copies a descriptor that outlives the first', () => {
      const pair = openPair();
      const copy = libc.duplicate(pair.master);
      closeSync(pair.master);
      writeSync(pair.slave, 'still joined');
      assert.equal(readSync(copy, Buffer.alloc(64)), 12);
      closeSync(pair.slave);
      closeSync(copy);
      assert.throws(() => libc.duplicate(-1), { code: 'EBADF' });
    });

    it('sees from the master what a program sets on the slave', async () => {
      const pair = openPair();
      const line = { baud: 19_200, dataBits: 8, parity: 'none', stopBits: 2 };
      for (const flow of ['rtscts', 'xonxoff', 'none']) {
        await libc.setLine(pair.slave, line, flow);
        assert.equal(libc.getFlow(pair.master), flow);
        assert.deepEqual(libc.getLine(pair.master), line);
      }
      pair.close();
    });

    it('throws away what waits in the input queue', async () => {
      const pair = openPair();
      writeSync(pair.master, 'unread');
      await until(() => libc.inputWaiting(pair.slave) === 6, '6 bytes in the slave');
      libc.flush(pair.slave, 'input');
      assert.equal(libc.inputWaiting(pair.slave), 0);
      assert.equal(libc.outputWaiting(pair.slave), 0);
      pair.close();
    });

    it('sets any baud rate on an open line and reads it back', async () => {
      const pair = openPair();
      const line = { dataBits: 8, parity: 'none', stopBits: 1 };
      for (const baud of [9_600, 115_200, 250_000, 1_234_567]) {
        await libc.setLine(pair.slave, { baud, ...line }, 'none');
        assert.deepEqual(libc.getLine(pair.slave), { baud, ...line });
      }
      pair.close();
    });

    it('sets two stop bits and mark parity as far as the driver goes', async () => {
      const pair = openPair();
      await libc.setLine(
        pair.slave,
        { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 2 },
        'rtscts',
      );
      assert.equal(libc.getLine(pair.slave).stopBits, 2);
      // A pty has no parity: it answers with what it made of the request.
      await libc.setLine(
        pair.slave,
        { baud: 9_600, dataBits: 8, parity: 'mark', stopBits: 1 },
        'none',
      );
      assert.equal(libc.getLine(pair.slave).parity, 'none');
      pair.close();
    });

    it('sets the size of its window', () => {
      const pair = openPair();
      libc.setWindowSize(pair.master, 132, 43);
      const terminal = new tty.WriteStream(pair.slave);
      assert.deepEqual(terminal.getWindowSize(), [132, 43]);
      terminal.destroy();
      closeSync(pair.master);
    });

    it('refuses settings no UART has', async () => {
      const pair = openPair();
      const line = { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1.5 };
      await assert.rejects(libc.setLine(pair.slave, line, 'none'), { code: 'EINVAL' });
      pair.close();
    });

    it('doubles a true ff where errors are marked, and only there', async () => {
      const pair = openPair();
      const line = { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1 };
      const buffer = Buffer.alloc(64);
      for (const marksErrors of [true, false]) {
        await libc.setLine(pair.slave, line, 'none', { marksErrors, afterOutput: true });
        assert.equal(libc.marksErrors(pair.slave), marksErrors);
        writeSync(pair.master, Buffer.from('a\xffb\0', 'latin1'));
        const wanted = marksErrors ? 'a\xff\xffb\0' : 'a\xffb\0';
        await until(() => libc.inputWaiting(pair.slave) === wanted.length, 'all of it');
        const count = readSync(pair.slave, buffer);
        assert.equal(buffer.toString('latin1', 0, count), wanted);
      }
      pair.close();
    });

    it('marks no error while something else hides it', async () => {
      const pair = openPair();
      const line = { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1 };
      for (const hides of ['ignbrk', 'brkint', 'ignpar', 'istrip', '-parmrk', '-inpck']) {
        await libc.setLine(pair.slave, line, 'none', { marksErrors: true });
        execFileSync('stty', ['-F', pair.slavePath, hides]);
        assert.equal(libc.marksErrors(pair.slave), false, hides);
      }
      pair.close();
    });

    it('keeps the signals of a line at its close, and all else of it as it was', async () => {
      const pair = openPair();
      const state = (): string =>
        execFileSync('stty', ['-F', pair.slavePath, '-a'], { encoding: 'utf8' });
      execFileSync('stty', ['-F', pair.slavePath, 'hupcl', '19200', 'icanon']);
      const before = state();
      assert.match(before, / hupcl/);
      await libc.keepSignalsOnClose(pair.slave);
      assert.equal(state(), before.replace(' hupcl', ' -hupcl'));
      execFileSync('stty', ['-F', pair.slavePath, 'hupcl']);
      const line = { baud: 19_200, dataBits: 8, parity: 'none', stopBits: 1 };
      await libc.setLine(pair.slave, line, 'none');
      assert.match(state(), / -hupcl/);
      pair.close();
    });

    it('makes a tty exclusive, and says what is none', () => {
      const pair = openPair();
      libc.setExclusive(pair.slave, true);
      libc.setExclusive(pair.slave, false);
      pair.close();
      const fd = openSync('/dev/null', 'r+');
      assert.throws(() => libc.setExclusive(fd, true), { code: 'ENOTTY' });
      closeSync(fd);
    });

    it('names the error of a driver without counters, low latency or RS-485', async () => {
      const pair = openPair();
      const rs485 = { rtsOnSend: true, delayBeforeMs: 0, delayAfterMs: 0, hearsItself: false };
      assert.throws(() => libc.lineCounters(pair.slave), { code: 'ENOTTY' });
      await assert.rejects(libc.setLowLatency(pair.slave), { code: 'ENOTTY' });
      await assert.rejects(libc.setRs485(pair.slave, rs485), { code: 'ENOTTY' });
      pair.close();
    });

    it('reads the counters of a driver, which are unsigned', () => {
      const struct = Buffer.alloc(ICOUNTER.bytes);
      // cts dsr rng dcd, rx tx, frame overrun parity brk, buf_overrun
      [1, 2, 3, 4, 5, 6, 7, -1, 9, 10, 11].forEach((count, i) => struct.writeInt32LE(count, i * 4));
      assert.deepEqual(readCounters(struct), {
        cts: 1,
        dsr: 2,
        ri: 3,
        dcd: 4,
        framing: 7,
        overrun: 0xffff_ffff,
        parity: 9,
        break: 10,
        bufferOverrun: 11,
      });
    });

    it('tells a driver RS-485 as the kernel has it, and reads its answer', () => {
      const struct = Buffer.alloc(RS485.bytes);
      const one = { rtsOnSend: true, delayBeforeMs: 3, delayAfterMs: 100, hearsItself: false };
      const other = { rtsOnSend: false, delayBeforeMs: 0, delayAfterMs: 0, hearsItself: true };
      writeRs485(struct, one);
      assert.deepEqual(
        [0, 4, 8].map((at) => struct.readUInt32LE(at)),
        [0b0_0011, 3, 100],
      );
      assert.deepEqual(readRs485(struct), one);
      writeRs485(struct, other);
      assert.equal(struct.readUInt32LE(0), 0b1_0101);
      assert.deepEqual(readRs485(struct), other);
      assert.equal(readRs485(Buffer.alloc(RS485.bytes)), null);
    });

    it('names the error of a line without modem signals', async () => {
      const pair = openPair();
      await assert.rejects(libc.setSignals(pair.slave, { dtr: true, rts: false }), {
        code: 'ENOTTY',
      });
      await assert.rejects(libc.getSignals(pair.slave), { code: 'ENOTTY' });
      pair.close();
    });

    it('gives each open file its own exclusive lock', () => {
      const pair = openPair();
      const second = openSync(pair.slavePath, constants.O_RDWR | constants.O_NOCTTY);
      assert.equal(libc.lockExclusive(pair.slave), true);
      assert.equal(libc.lockExclusive(second), false);
      closeSync(second);
      pair.close();
    });

    it('names the error of a descriptor that is no tty', () => {
      const fd = openSync('/dev/null', 'r+');
      assert.throws(() => libc.inputWaiting(fd), { code: 'ENOTTY' });
      closeSync(fd);
    });
  });

  it('tells who is at the other end of a unix socket', async () => {
    const socketPath = path.join(directory, 'peer.sock');
    const server = net.createServer().listen(socketPath);
    await once(server, 'listening');
    const client = net.connect(socketPath);
    const [accepted] = (await once(server, 'connection')) as [net.Socket];
    const { fd } = (accepted as unknown as { _handle: { fd: number } })._handle;
    assert.deepEqual(libc.peerCredentials(fd), {
      pid: process.pid,
      uid: process.getuid!(),
      gid: process.getgid!(),
    });
    client.destroy();
    accepted.destroy();
    server.close();
  });

  it('says when nobody listens for a datagram, or its path is too long', () => {
    assert.throws(() => libc.sendDatagram(path.join(directory, 'absent'), 'READY=1'), {
      code: 'ENOENT',
    });
    assert.throws(() => libc.sendDatagram('@fairlead-test-nobody', 'READY=1'), {
      code: 'ECONNREFUSED',
    });
    assert.throws(() => libc.sendDatagram(`/${'x'.repeat(200)}`, 'READY=1'), {
      code: 'ENAMETOOLONG',
    });
  });

  it('knows the thread by the number the kernel gives it', () => {
    const thread = libc.threadId();
    assert.equal(thread, process.pid); // the main thread's
    setPriority(thread, getPriority(thread));
  });
});
