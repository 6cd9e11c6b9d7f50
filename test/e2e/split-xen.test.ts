import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { takeHalf } from '../../src/protocols/split-half.ts';
import { RawClient } from './console.ts';
import { Daemon, freeTcpPort, run, scratchDirectory } from './daemon.ts';
import { startGuest } from './guest/guest.ts';
import { GUEST_LOGIN } from './guest/image.ts';

const CTRL_A_THREE_TIMES = '\x01\x01\x01';

/** The book's `console=com1H pdb=com1L`: a hypervisor's console and its debugger on one line. */
describe('Xen on the high half of a line, a gdb stub on the low', () => {
  const cleanups: (() => Promise<unknown> | void)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  it('both are whole: CTRL-A three times on the one, gdb reads registers on the other', async () => {
    const scratch = scratchDirectory();
    cleanups.push(() => scratch.dispose());
    const guest = await startGuest({ serial: 'unix', machine: 'xen', console: 'com1H' });
    cleanups.push(() => guest.stop());
    const monitor = (line: string): Promise<unknown> =>
      guest.qmp('human-monitor-command', { 'command-line': line });
    const stub = join(scratch.path, 'stub.sock');
    await monitor(`gdbserver unix:${stub},server=on,wait=off`);
    const wire = await joinLines(join(scratch.path, 'wire.sock'), guest.path, stub);
    cleanups.push(() => wire.close());

    const rawBase = (await freeTcpPort()) - 1;
    const daemon = await Daemon.start(
      scratch.path,
      `data: ./data
listen:
  raw: { host: 127.0.0.1, base: ${rawBase}, auth: none, allow: [127.0.0.1/32], as: lab }
users:
  lab: { role: admin }
ports:
  wire: { unix: ${wire.path} }
  xen: { n: 1, split: { of: wire, half: high } }
  pdb: { n: 2, split: { of: wire, half: low } }
`,
    );
    cleanups.push(() => daemon.stop());
    for (const port of ['xen', 'pdb']) {
      await daemon.said('port up', (entry) => entry['port'] === port);
    }
    const xen = await RawClient.enter(rawBase + 1);
    cleanups.push(() => void xen.socket.destroy());
    await daemon.said('session attached', (entry) => entry['port'] === 'xen');
    const { heard } = xen;
    /** Types it and waits for the answer. */
    async function type(keys: string, answer: string | RegExp): Promise<void> {
      const from = heard.length;
      xen.socket.write(keys, 'latin1');
      await heard.until(answer, from);
    }

    await guest.run();
    await heard.until('(XEN) Xen version');
    await heard.until('guest login: ');
    await type(CTRL_A_THREE_TIMES, 'Serial input to Xen');
    await type('h', "'h' pressed -> showing installed handlers");
    await type(CTRL_A_THREE_TIMES, 'Serial input to DOM0');
    await type(`\r${GUEST_LOGIN.user}\r`, 'Password: ');
    await type(`${GUEST_LOGIN.password}\r`, 'root@guest:~# ');

    await guest.qmp('stop');
    const registers = String(await monitor('info registers'));
    const gdb = await run('gdb', [
      ...['-nx', '-batch', '-ex', 'set architecture i386:x86-64'],
      ...['-ex', `target remote 127.0.0.1:${rawBase + 2}`],
      ...['-ex', 'info registers rip rsp cr3', '-ex', 'x/16xb $rip', '-ex', 'detach'],
    ]);
    const said = `${gdb.stdout.toString()}\n${gdb.stderr}`;
    assert.equal(gdb.code, 0, said);
    for (const [gdbName, qemuName] of [
      ['rip', 'RIP'],
      ['rsp', 'RSP'],
    ] as const) {
      const [, read] = new RegExp(`^${gdbName} +0x([0-9a-f]+)`, 'm').exec(said) ?? [];
      const [, known] = new RegExp(`${qemuName}=([0-9a-f]+)`).exec(registers) ?? [];
      assert.ok(read && known, said);
      assert.equal(BigInt(`0x${read}`), BigInt(`0x${known}`), gdbName);
    }
    // Let go by gdb it runs on, and its console is as it was.
    await type('echo still-"here"\r', 'still-here');

    await guest.stop();
    await wire.ended;
    await daemon.said('port down', (entry) => entry['port'] === 'pdb');
    const truth = guest.said();
    assert.ok(truth.length > 10_000);
    assert.ok(
      truth.every((byte) => byte >= 0x80),
      'every byte of Xen and of its dom0',
    );
    const console_ = Buffer.from(truth.map((byte) => byte & 0x7f));
    const packets = wire.saidByStub();
    assert.match(packets.toString('latin1'), /^([+-]|\$[^$#]*#[0-9a-f]{2})+$/);
    const log = async (port: string): Promise<Buffer> =>
      (await daemon.cli(['log', port, '--format', 'raw'])).stdout;
    assert.ok((await log('xen')).equals(console_), 'the high half');
    assert.ok((await log('pdb')).equals(packets), 'the low half');
    const whole = await log('wire');
    assert.ok(Buffer.from(takeHalf(whole, 'high')).equals(console_), 'the high half of the wire');
    assert.ok(Buffer.from(takeHalf(whole, 'low')).equals(packets), 'the low half of the wire');
    assert.ok(heard.bytes.equals(console_), 'what the client of the high half got');
  });
});

interface Wire {
  readonly path: string;
  /** Every byte the stub has sent. */
  saidByStub(): Buffer;
  /** Resolves when the high side closed and everything was passed on. */
  readonly ended: Promise<unknown>;
  close(): void;
}

/**
 * What two users of one UART are on its wire: their bytes mixed as they come, and what comes back told
 * apart by the top bit. Waits for its one client before it connects to the two.
 */
async function joinLines(path: string, highPath: string, lowPath: string): Promise<Wire> {
  const fromStub: Buffer[] = [];
  const sockets: Socket[] = [];
  let hasEnded!: () => void;
  const ended = new Promise<void>((resolve) => (hasEnded = resolve));
  const server = createServer((line) => {
    const high = connect(highPath);
    const low = connect(lowPath);
    sockets.push(line, high, low);
    for (const socket of [line, high, low]) socket.on('error', () => undefined);
    high.on('data', (bytes: Buffer) => line.write(bytes));
    low.on('data', (bytes: Buffer) => {
      fromStub.push(bytes);
      line.write(bytes);
    });
    high.once('close', () => line.end(hasEnded));
    line.on('data', (bytes: Buffer) => {
      for (const byte of bytes) (byte >= 0x80 ? high : low).write(Buffer.of(byte));
    });
  });
  server.listen(path);
  await once(server, 'listening');
  return {
    path,
    saidByStub: () => Buffer.concat(fromStub),
    ended,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
