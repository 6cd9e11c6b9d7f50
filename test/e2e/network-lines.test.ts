import assert from 'node:assert/strict';
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { PortStatus } from '../../src/core/port-status.ts';
import { freeBase } from '../frontends/fakes.ts';
import { makePtyDevice, requireLibc, type PtyDevice } from '../support/pty.ts';
import { Heard } from './console.ts';
import { Daemon, scratchDirectory } from './daemon.ts';
import { ALL_BYTES } from './serial-tools.ts';

const LINES = 20;
const SERVER = fileURLToPath(new URL('./terminal-server.js', import.meta.url));

/** As `virsh console`: wants a terminal, and stays until its machine is gone. */
const VIRSH = `#!/bin/sh
test -t 0 || { echo "error: Cannot run interactive console without a controlling TTY" >&2; exit 1; }
echo "Connected to domain '$2'"
while read -r word; do
  test "$word" = reboot && { echo "error: the domain is gone"; exit 1; }
  echo "heard $word"
done
`;

describe('lines of other machines and programs', () => {
  const scratch = scratchDirectory();
  const inScratch = (name: string): string => join(scratch.path, name);
  let base: number;
  let server: TerminalServer;
  let pty: PtyDevice;
  let daemon: Daemon;
  let startedMs: number;

  before(async () => {
    base = await freeBase();
    server = await TerminalServer.start(base, 1);
    pty = makePtyDevice(await requireLibc());
    writeFileSync(inScratch('virsh'), VIRSH, { mode: 0o700 });
    writeFileSync(inScratch('path'), pty.path);
    const lines = Array.from(
      { length: LINES },
      (_, i) => `  ts${i}: { tcp: '127.0.0.1:${base + i}' }`,
    );
    startedMs = performance.now();
    daemon = await Daemon.start(
      scratch.path,
      `data: ./data
listen: { ssh: none }
ports:
${lines.join('\n')}
  vm: { exec: [${inScratch('virsh')}, console, vm] }
  filter: { exec: { command: [sh, -c, 'echo on pipes; exec cat'], on: pipe } }
  dying: { exec: [sh, -c, 'echo x >>"$0"; echo "error: no such domain"; exit 1', ${inScratch('starts')}] }
  guest: { pty: { command: [cat, ${inScratch('path')}] } }
`,
    );
  });
  after(async () => {
    await daemon.stop();
    await server.kill();
    pty.close();
    scratch.dispose();
  });

  async function statuses(): Promise<Map<string, PortStatus>> {
    const { stdout, stderr } = await daemon.cli(['ports', '--json']);
    assert.equal(stderr, '');
    const list = JSON.parse(stdout.toString()) as PortStatus[];
    return new Map(list.map((status) => [status.name, status]));
  }

  /** Asks `ports` until it is so. */
  async function untilPorts(
    what: string,
    isSo: (ports: Map<string, PortStatus>) => boolean,
  ): Promise<Map<string, PortStatus>> {
    for (const endMs = performance.now() + 90_000; ;) {
      const ports = await statuses();
      if (isSo(ports)) return ports;
      if (performance.now() > endMs) {
        const list = [...ports.values()].map(({ name, state, why }) => `${name} ${state} ${why}`);
        assert.fail(`waited for ${what}:\n${list.join('\n')}`);
      }
      await sleep(200);
    }
  }

  /** The port's log, once it holds `text`. */
  async function untilLogged(port: string, text: string | RegExp): Promise<string> {
    for (const endMs = performance.now() + 90_000; ;) {
      const { stdout } = await daemon.cli(['log', port, '--format', 'raw']);
      const said = stdout.toString('latin1');
      if (typeof text === 'string' ? said.includes(text) : text.test(said)) return said;
      if (performance.now() > endMs) {
        const { state, why } = (await statuses()).get(port)!;
        assert.fail(`${port}, ${state} (${why}), to say "${text}": ${said}`);
      }
      await sleep(200);
    }
  }

  const serverLines = (ports: Map<string, PortStatus>): PortStatus[] =>
    [...ports.values()].filter(({ name }) => name.startsWith('ts'));
  const areUp = (ports: Map<string, PortStatus>): boolean =>
    serverLines(ports).filter(({ state }) => state === 'up').length === LINES;

  it('a terminal server that dies and comes back is connected to once by each', async () => {
    await untilPorts('all lines', areUp);
    assert.equal(server.connects, LINES);
    await server.kill();
    const down = await untilPorts('all lines to be down', (ports) =>
      serverLines(ports).every(({ why }) => why?.includes('connection refused')),
    );
    assert.equal(down.get('ts3')!.state, 'down');
    server = await TerminalServer.start(base, 2);
    await untilPorts('all lines again', areUp);
    assert.equal(server.connects, LINES, 'not one connection more than lines');
    for (const name of ['ts0', 'ts19']) {
      const index = name.slice(2);
      const said = await untilLogged(name, `life 2 of line ${index}`);
      assert.equal(said, `life 1 of line ${index}\r\nlife 2 of line ${index}\r\n`);
    }
  });

  it('are tried at once when somebody asks by USR1', async () => {
    await server.kill();
    await untilPorts('all lines to be down', (ports) =>
      serverLines(ports).every(({ why }) => why?.includes('connection refused')),
    );
    server = await TerminalServer.start(base, 3);
    daemon.signal('SIGUSR1');
    await untilPorts('all lines again', areUp);
    assert.equal(server.connects, LINES);
  });

  it('a program that wants a terminal has one, and is started anew when it ends', async () => {
    const greeting = "Connected to domain 'vm'";
    await untilLogged('vm', greeting);
    assert.equal((await daemon.cli(['send', 'vm', 'one\\r'])).stderr, '');
    await untilLogged('vm', 'heard one');
    assert.equal((await daemon.cli(['send', 'vm', 'reboot\\r'])).stderr, '');
    const said = await untilLogged('vm', /the domain is gone[^]*Connected to domain/);
    assert.equal(said.split(greeting).length - 1, 2);
    assert.equal((await daemon.cli(['send', 'vm', 'two\\r'])).stderr, '');
    await untilLogged('vm', 'heard two');
    const [down] = daemon.journal.filter(({ msg, port }) => msg === 'port down' && port === 'vm');
    assert.match(
      String(down!['why']),
      /virsh console vm \(process \d+\): ended with status 1(; |$)/,
    );
  });

  it('a program on pipes passes every byte', async () => {
    await untilLogged('filter', 'on pipes\n');
    const sent = Array.from({ length: 256 }, (_, i) => `\\x${i.toString(16).padStart(2, '0')}`);
    assert.equal((await daemon.cli(['send', 'filter', sent.join('')])).stderr, '');
    const said = await untilLogged('filter', '\xff');
    assert.equal(said, `on pipes\n${ALL_BYTES.toString('latin1')}`);
  });

  it('a pty is found by its command, and followed to another', async () => {
    await untilPorts('the pty', (ports) => ports.get('guest')!.state === 'up');
    await pty.send(Buffer.from('first life\r\n'));
    await untilLogged('guest', 'first life');
    const next = makePtyDevice(await requireLibc());
    writeFileSync(inScratch('path'), next.path);
    await next.send(Buffer.from('second life\r\n'));
    assert.equal(await untilLogged('guest', 'second life'), 'first life\r\nsecond life\r\n');
    next.close();
  });

  it('a program that ends at once is started ten times a minute, and says why', async () => {
    const ports = await untilPorts(
      'it to be left alone',
      (now) => now.get('dying')!.why?.includes('within a minute') ?? false,
    );
    const { why, state } = ports.get('dying')!;
    assert.equal(state, 'down');
    assert.match(
      why!,
      /: started 10 times within a minute, the last time it ended with status 1; it said "error: no such domain"; next start in \d+ s$/,
    );
    const starts = readFileSync(inScratch('starts'), 'utf8').split('\n').length - 1;
    const minutes = Math.ceil((performance.now() - startedMs) / 60_000);
    assert.ok(starts >= 10 && starts <= 10 * minutes, `${starts} starts in ${minutes} minutes`);
  });
});

class TerminalServer {
  readonly #process: ChildProcessByStdio<null, Readable, null>;
  readonly #heard: Heard;

  private constructor(process: ChildProcessByStdio<null, Readable, null>) {
    this.#process = process;
    this.#heard = new Heard().listenTo(process.stdout);
  }

  static async start(base: number, life: number): Promise<TerminalServer> {
    const args = [SERVER, String(base), String(LINES), String(life)];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const server = new TerminalServer(child);
    await server.#heard.until('listening');
    return server;
  }

  /** Connections so far. */
  get connects(): number {
    return this.#heard.text.split('\n').filter((line) => /^\d+$/.test(line)).length;
  }

  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill('SIGKILL');
    await once(this.#process, 'exit');
  }
}
