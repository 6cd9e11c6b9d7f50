import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { takeHalf } from '../../src/protocols/split-half.ts';
import { noise } from '../support/backend.ts';
import { requireLibc } from '../support/pty.ts';
import { Machine, RawClient } from './console.ts';
import { cli, Daemon, freeTcpPort, run, scratchDirectory } from './daemon.ts';

const MIB = 1_048_576;

/** One wire, two users: each has a port of its own, and the wire's own log holds what was on it. */
describe('a line that two share', () => {
  const cleanups: (() => Promise<unknown> | void)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  function scratch(): string {
    const directory = scratchDirectory();
    cleanups.push(() => directory.dispose());
    return directory.path;
  }

  /** A daemon with the port `wire`, whose parts have the numbers 1 and 2. */
  async function serve(
    directory: string,
    ports: string,
  ): Promise<{ daemon: Daemon; rawBase: number }> {
    const rawBase = (await freeTcpPort()) - 1;
    const daemon = await Daemon.start(
      directory,
      `data: ./data
listen:
  raw: { host: 127.0.0.1, base: ${rawBase}, auth: none, allow: [127.0.0.1/32], as: lab }
users:
  lab: { role: admin }
ports:
${ports}`,
    );
    cleanups.push(() => daemon.stop());
    return { daemon, rawBase };
  }

  async function isUp(daemon: Daemon, ...ports: string[]): Promise<void> {
    for (const port of ports) await daemon.said('port up', (entry) => entry['port'] === port);
  }

  async function enter(daemon: Daemon, tcpPort: number, port: string): Promise<RawClient> {
    const client = await RawClient.enter(tcpPort);
    cleanups.push(() => void client.socket.destroy());
    await daemon.said('session attached', (entry) => entry['port'] === port);
    return client;
  }

  async function log(daemon: Daemon, port: string): Promise<Buffer> {
    return (await daemon.cli(['log', port, '--format', 'raw'])).stdout;
  }

  it('by the top bit: a megabyte each way and each half, mixed, to the byte', async () => {
    const machine = new Machine(await requireLibc());
    cleanups.push(() => machine.dispose());
    const { daemon, rawBase } = await serve(
      scratch(),
      `  wire: { pty: ${machine.path} }
  high: { n: 1, split: { of: wire, half: high } }
  low: { n: 2, split: { of: wire, half: low } }
`,
    );
    await isUp(daemon, 'high', 'low');
    const high = await enter(daemon, rawBase + 1, 'high');
    const low = await enter(daemon, rawBase + 2, 'low');

    const wire = noise(2 * MIB);
    const saidHigh = Buffer.from(takeHalf(wire, 'high'));
    const saidLow = Buffer.from(takeHalf(wire, 'low'));
    assert.ok(saidHigh.length > 0.9 * MIB && saidLow.length > 0.9 * MIB);
    const typedHigh = sevenBits(noise(MIB, 2));
    const typedLow = sevenBits(noise(MIB, 3));
    high.socket.write(typedHigh);
    low.socket.write(typedLow);
    await machine.say(wire);
    assert.ok((await high.heard.untilLength(saidHigh.length)).equals(saidHigh), 'the high half');
    assert.ok((await low.heard.untilLength(saidLow.length)).equals(saidLow), 'the low half');

    const got = await machine.heard.untilLength(2 * MIB);
    assert.ok(Buffer.from(takeHalf(got, 'high')).equals(typedHigh), 'what the high half typed');
    assert.ok(Buffer.from(takeHalf(got, 'low')).equals(typedLow), 'what the low half typed');

    assert.ok((await log(daemon, 'wire')).equals(wire), 'the log of the wire');
    assert.ok((await log(daemon, 'high')).equals(saidHigh), 'the log of the high half');
    assert.ok((await log(daemon, 'low')).equals(saidLow), 'the log of the low half');
    const who = await daemon.cli(['log', 'wire', '--format', 'jsonl']);
    for (const half of ['high', 'low'])
      assert.match(who.stdout.toString(), new RegExp(`"user":"${half}"`));

    machine.pty.close();
    await daemon.said('port down', (entry) => entry['port'] === 'low');
    const { stdout } = await daemon.cli(['ports', '--json']);
    const ports = JSON.parse(stdout.toString()) as { name: string; state: string; why: string }[];
    for (const { name, state, why } of ports) {
      assert.equal(state, 'down', name);
      if (name !== 'wire') assert.match(why, /^wire is down: /);
    }
    assert.equal(await daemon.stop(), 0);
    const verified = await cli(['--config', daemon.configPath, 'verify']);
    assert.equal(verified.code, 0, verified.stdout.toString());
  });

  it('with gdb: gdbserver and the program it runs, both on one tty', async () => {
    const directory = scratch();
    const [ours, theirs] = [join(directory, 'ours'), join(directory, 'theirs')];
    const cable = spawn('socat', [`pty,rawer,link=${ours}`, `pty,rawer,link=${theirs}`]);
    cleanups.push(() => void cable.kill());
    while (!existsSync(ours) || !existsSync(theirs)) await sleep(10);
    const { daemon, rawBase } = await serve(
      directory,
      `  wire: { pty: ${ours} }
  debugger: { n: 1, split: { of: wire, gdb: true } }
  program: { n: 2, split: { of: wire, gdb: false } }
`,
    );
    await isUp(daemon, 'debugger', 'program');
    const program = await enter(daemon, rawBase + 2, 'program');

    const tty = openSync(theirs, constants.O_RDWR | constants.O_NOCTTY);
    const server = spawn('gdbserver', [theirs, '/bin/sh', '-c', PROGRAM], {
      stdio: ['ignore', tty, 'pipe'],
    });
    closeSync(tty);
    cleanups.push(() => void server.kill('SIGKILL'));
    await once(server.stderr!, 'data'); // it is there, and waits for gdb

    const gdb = await run('gdb', [
      ...['-nx', '-batch', '-ex', 'set sysroot', '-ex', 'handle SIGUSR1 stop nopass'],
      ...['-ex', `target remote 127.0.0.1:${rawBase + 1}`],
      ...['-ex', 'continue', '-ex', 'info registers rip', '-ex', 'x/4xb $rip'],
      ...['-ex', 'continue', '-ex', 'info registers rip', '-ex', 'continue'],
      '/bin/sh',
    ]);
    const said = `${gdb.stdout.toString()}\n${gdb.stderr}`;
    assert.equal(gdb.code, 0, said);
    assert.equal(said.match(/Program received signal SIGUSR1/g)?.length, 2, said);
    assert.match(said, /^rip +0x[0-9a-f]+/m);
    assert.match(said, /exited with code 07/);

    assert.equal((await program.heard.untilLength(PRINTED.length)).toString(), PRINTED);
    const [wire, packets, text] = [
      await log(daemon, 'wire'),
      await log(daemon, 'debugger'),
      await log(daemon, 'program'),
    ];
    assert.equal(text.toString(), PRINTED);
    assert.equal(packets.length + text.length, wire.length, 'no byte is lost or doubled');
    assert.match(packets.toString('latin1'), /^([+-]|\$[^$#]*#[0-9a-f]{2})+$/);
  });
});

const PRINTED = Array.from(
  { length: 300 },
  (_, line) => `line ${line}: 1+1-1 $HOME $5#00 100%done +0x1f/0x40\n`,
).join('');

/** Prints that, and stops twice on the way. */
const PROGRAM = `line=0
while [ $line -lt 300 ]; do
  echo "line $line: 1+1-1 \\$HOME \\$5#00 100%done +0x1f/0x40"
  case $line in 100|200) kill -USR1 $$ ;; esac
  line=$((line + 1))
done
exit 7`;

function sevenBits(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.map((byte) => byte & 0x7f));
}
