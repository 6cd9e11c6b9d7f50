import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { PortStatus } from '../../src/core/port-status.ts';
import { freeBase } from '../frontends/fakes.ts';
import { RawClient } from '../e2e/console.ts';
import { Daemon, scratchDirectory } from '../e2e/daemon.ts';
import { GUEST_LOGIN } from '../e2e/guest/image.ts';
import { eventually, statusIn } from './eventually.ts';
import { startLibvirt, type Libvirt } from './libvirt.ts';

const LOGIN = 'guest login: ';
/** What virsh says itself before the first byte of the guest. */
const GREETING = /Connected to domain 'vm'\r\nEscape character is \^\] \(Ctrl \+ \]\)\r\n/;
/** What it may say between two lives of a guest. */
const OWN_WORDS =
  /^(\r\n|Authorization not available\..*\r\n|error: The domain is not running\r\n)*$/;

describe('a guest of libvirt', () => {
  const scratch = scratchDirectory();
  let libvirt: Libvirt;
  let daemon: Daemon | null = null;
  let rawPort: number;

  before(async () => {
    libvirt = await startLibvirt();
    rawPort = await freeBase();
  });
  after(async () => {
    await daemon?.stop();
    await libvirt?.stop();
    scratch.dispose();
  });

  async function serve(backend: string): Promise<void> {
    await daemon?.stop();
    daemon = await Daemon.start(
      scratch.path,
      `
data: ./data
listen:
  ssh: none
  raw: { host: 127.0.0.1, base: ${rawPort - 1}, auth: none, allow: [127.0.0.1/32], as: tester }
users:
  tester: { role: operator, ports: ['*'] }
ports:
  ${backend}
`,
    );
  }

  const log = async (port: string): Promise<Buffer> =>
    (await daemon!.cli(['log', port, '--format', 'raw'])).stdout;
  const untilLogged = (
    what: string,
    port: string,
    isSo: (log: Buffer) => boolean,
  ): Promise<Buffer> => eventually(what, () => log(port), isSo);
  const untilPort = (
    what: string,
    port: string,
    isSo: (status: PortStatus) => boolean,
  ): Promise<PortStatus> =>
    eventually(what, async () => statusIn(await daemon!.cli(['ports', '--json']), port), isSo);

  /** Has the guest rebooted by who logs in through the port. */
  async function rebootByHand(): Promise<void> {
    const client = await RawClient.enter(rawPort);
    client.socket.write('\r');
    await client.heard.until(LOGIN);
    client.socket.write(`${GUEST_LOGIN.user}\r`);
    await client.heard.until('Password: ');
    client.socket.write(`${GUEST_LOGIN.password}\r`);
    await client.heard.until('# ');
    client.socket.write('echo by $((40+2)); reboot -f\r');
    await client.heard.until('by 42');
    client.socket.destroy();
  }

  describe('by virsh console', () => {
    /** What virsh passed on in each of its connections: the guest's words, and its own behind them. */
    const lives = (bytes: Buffer): string[] => bytes.toString('latin1').split(GREETING).slice(1);

    it('is captured from its first byte, and through its reboot', async () => {
      await libvirt.start();
      await serve(`vm: { n: 1, exec: ${JSON.stringify(libvirt.command('console'))} }`);
      await untilLogged('a connection', 'vm', (bytes) => lives(bytes).length === 1);
      await libvirt.resume();
      await untilBooted(1);
      await rebootByHand();
      const said = (await untilBooted(2)).toString('latin1');
      const logged = await untilLogged('all that was said', 'vm', (bytes) =>
        bytes.toString('latin1').endsWith(said),
      );
      assert.deepEqual(lives(logged), [said]);
    });

    it('is down with the reason while the guest is off, and captured when it is there again', async () => {
      const first = libvirt.said().toString('latin1');
      await libvirt.destroy();
      const down = await untilPort(
        'the reason',
        'vm',
        ({ why }) => why?.includes('error') ?? false,
      );
      assert.equal(down.state, 'down');
      assert.match(
        down.why!,
        /exec virsh .* console vm \(process \d+\): ended with status 1; it said "error: The domain is not running"/,
      );
      await libvirt.start();
      await untilLogged('a connection', 'vm', (bytes) => lives(bytes).length === 2);
      assert.equal((await untilPort('the port', 'vm', () => true)).state, 'up');
      await libvirt.resume();
      const second = (await untilBooted(1)).toString('latin1');
      const logged = await untilLogged('all that was said', 'vm', (bytes) =>
        bytes.toString('latin1').endsWith(second),
      );
      const [before, now] = lives(logged);
      assert.ok(before!.startsWith(first), 'the life before');
      assert.match(before!.slice(first.length), OWN_WORDS);
      assert.equal(now, second);
      const starts = daemon!.journal.filter(({ msg }) => msg === 'port opened').length;
      console.log(starts);
    });
  });

  describe('by the pty that virsh ttyconsole names', () => {
    it('follows', async () => {
      await serve(
        `tty: { n: 1, pty: { command: ${JSON.stringify(libvirt.command('ttyconsole'))} } }`,
      );
      await untilPort('the pty', 'tty', ({ state }) => state === 'up');
      await libvirt.destroy();
      const d = await untilPort('reason', 'tty', ({ state }) => state === 'down');
      console.log(d);
      console.log(await untilPort('reason', 'tty', ({ why }) => why?.includes('failed') ?? false));
      await libvirt.start();
      await untilPort('the pty', 'tty', ({ state }) => state === 'up');
      await libvirt.resume();
      await untilBooted(1);
      await rebootByHand();
      const said = await untilBooted(2);
      const l = await untilLogged('all', 'tty', (l) => l.length >= said.length);
      assert.equal(l.toString('latin1'), said.toString('latin1'));
      for (const e of daemon!.journal) console.log(JSON.stringify(e));
    });
  });

  /** Until it has booted so often, and asks for a login. */
  async function untilBooted(times: number): Promise<Buffer> {
    return eventually(
      `boot ${times}`,
      async () => libvirt.said(),
      (said) => {
        const boots = said.toString('latin1').split('Linux version').slice(1);
        return boots.length === times && boots.at(-1)!.includes(LOGIN);
      },
    );
  }
});
