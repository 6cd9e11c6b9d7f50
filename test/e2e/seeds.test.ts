import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, it } from 'node:test';
import xterm from '@xterm/headless';
import { Heard, SshKit, type SshClient } from './console.ts';
import { Daemon, freeTcpPort, scratchDirectory } from './daemon.ts';
import { startGuest, type Guest, type GuestOptions } from './guest/guest.ts';
import { GRUB_ENTRIES, GUEST_LOGIN } from './guest/image.ts';

const DOWN = '\x1b[B';
const CTRL_A_THREE_TIMES = '\x01\x01\x01';

/** What people did with Xen's consoles twenty years ago, against the real things. */
describe('a hypervisor, a boot loader and a shell that asks its terminal', () => {
  const cleanups: (() => Promise<unknown> | void)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  async function start(machine: NonNullable<GuestOptions['machine']>): Promise<Site> {
    const scratch = scratchDirectory();
    cleanups.push(() => scratch.dispose());
    const guest = await startGuest({ serial: 'unix', machine });
    cleanups.push(() => guest.stop());
    const [sshPort, telnetPort, rawPort] = [
      await freeTcpPort(),
      await freeTcpPort(),
      await freeTcpPort(),
    ];
    const ssh = new SshKit(scratch.path, sshPort);
    cleanups.push(() => ssh.dispose());
    const key = ssh.makeKey('ann');
    const daemon = await Daemon.start(
      scratch.path,
      `data: ./data
listen:
  ssh: 127.0.0.1:${sshPort}
  telnet: { base: ${telnetPort - 1}, auth: none, allow: [127.0.0.1/32], as: ann, busy: takeover }
  raw: { base: ${rawPort - 1}, auth: none, allow: [127.0.0.1/32], as: ann, busy: takeover }
users:
  ann: { role: admin, keys: ['${key}'] }
ports:
  box: { n: 1, unix: ${guest.path} }
`,
    );
    cleanups.push(() => daemon.stop());
    await daemon.said('port up');
    return { guest, daemon, ssh, telnetPort, rawPort };
  }

  it('CTRL-A three times reaches Xen and comes back, through SSH, telnet and raw', async () => {
    const { guest, ssh, telnetPort, rawPort } = await start('xen');
    await guest.run();
    await guest.saidText('guest login: ');

    const ways: [string, () => Promise<(keys: string) => void>][] = [
      [
        'ssh',
        async () => {
          const client = attachBySsh(ssh);
          await client.out.until('box: you write');
          return (keys) => client.type(keys);
        },
      ],
      ['telnet', () => enter(telnetPort)],
      ['raw', () => enter(rawPort)],
    ];
    for (const [way, open] of ways) {
      const type = await open();
      const before = guest.said().length;
      const since = (): string => guest.said().subarray(before).toString('latin1');
      const saidSince = (text: string): Promise<void> => until(() => since().includes(text), way);
      type(CTRL_A_THREE_TIMES);
      await saidSince('Serial input to Xen');
      type('h');
      await saidSince("'h' pressed -> showing installed handlers");
      type(CTRL_A_THREE_TIMES);
      await saidSince('Serial input to DOM0');
      type('\r');
      await until(() => /login: $/.test(since()), way);
    }
  });

  it('shows the boot menu to somebody who comes after it was drawn, and the arrows move it', async () => {
    const { guest, daemon, ssh } = await start('grub');
    await guest.run();
    await guest.saidText(GRUB_ENTRIES.at(-1)!);
    await until(async () => {
      const { stdout } = await daemon.cli(['log', 'box', '--format', 'raw']);
      return stdout.includes(GRUB_ENTRIES.at(-1)!) && stdout.length === guest.said().length;
    }, 'the log to hold the menu');

    const client = attachBySsh(ssh);
    const screen = new xterm.Terminal({ cols: 80, rows: 24, allowProposedApi: true });
    client.process.stdout.on('data', (bytes: Buffer) => screen.write(bytes));
    const marked = (): string | undefined => screenOf(screen).find((line) => line.includes('*'));
    await until(() => marked()?.includes(GRUB_ENTRIES[0]) ?? false, 'the menu on the screen');
    for (const title of GRUB_ENTRIES) {
      assert.ok(
        screenOf(screen).some((line) => line.includes(title)),
        title,
      );
    }
    client.type(DOWN);
    await until(() => marked()?.includes(GRUB_ENTRIES[1]) ?? false, 'the second entry marked');
    client.type(DOWN);
    await until(() => marked()?.includes(GRUB_ENTRIES[2]) ?? false, 'the third entry marked');
  });

  it('five viewers whose terminals answer ESC[6n type nothing into the shell that asks', async () => {
    const { guest, ssh, rawPort } = await start('linux');
    await guest.run();
    await guest.saidText('guest login: ');
    const viewers = Array.from({ length: 5 }, () => {
      const client = ssh.spawn(['-tt', 'ann:box:view@127.0.0.1'], { key: 'ann' });
      const terminal = new xterm.Terminal({ cols: 80, rows: 24, allowProposedApi: true });
      client.process.stdout.on('data', (bytes: Buffer) => terminal.write(bytes));
      // What a real terminal does with a question on its screen.
      let answers = 0;
      terminal.onData((answer) => {
        answers++;
        client.type(answer);
      });
      return { client, answers: () => answers };
    });
    for (const { client } of viewers) await client.out.until('box: you view');

    // A program that answers nothing logs in: any answer in the log was a viewer's.
    const type = await enter(rawPort);
    type(`${GUEST_LOGIN.user}\r`);
    await guest.saidText('Password: ');
    type(`${GUEST_LOGIN.password}\r`);
    await guest.saidText('root@guest:~# ');
    await guest.saidText('\x1b[6n');
    type('echo all-"quiet"\r');
    await guest.saidText('all-quiet');
    for (const { client, answers } of viewers) {
      await client.out.until('all-quiet');
      assert.equal(answers(), 0, 'the question was not passed on');
      assert.doesNotMatch(client.out.text, /input refused/);
    }
    // Nor may somebody who comes later answer what was asked before they came.
    const late = attachBySsh(ssh);
    const terminal = new xterm.Terminal({ cols: 80, rows: 24, allowProposedApi: true });
    late.process.stdout.on('data', (bytes: Buffer) => terminal.write(bytes));
    let lateAnswers = 0;
    terminal.onData(() => lateAnswers++);
    await late.out.until('all-quiet');
    assert.equal(lateAnswers, 0);
    assert.doesNotMatch(guest.said().toString('latin1'), /\[\d+;\d+R/);
  });
});

interface Site {
  guest: Guest;
  daemon: Daemon;
  ssh: SshKit;
  telnetPort: number;
  rawPort: number;
}

function attachBySsh(ssh: SshKit): SshClient {
  return ssh.spawn(['-tt', 'ann:box:force@127.0.0.1'], { key: 'ann' });
}

/** A client that negotiates nothing, as old scripts have it; resolves once its keys count. */
async function enter(tcpPort: number): Promise<(keys: string) => void> {
  const socket: Socket = connect(tcpPort, '127.0.0.1');
  await once(socket, 'connect');
  new Heard().listenTo(socket);
  return (keys) => socket.write(keys, 'latin1');
}

/** Lines of the screen, as a person sees them. */
function screenOf(terminal: xterm.Terminal): string[] {
  const { active } = terminal.buffer;
  return Array.from({ length: terminal.rows }, (_, row) => {
    return active.getLine(active.viewportY + row)?.translateToString(true) ?? '';
  });
}

/** A safety net: nothing is tested against it. */
const PATIENCE_MS = 120_000;

async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await isSo())) {
    assert.ok(performance.now() < deadline, `waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
