import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { PortStatus } from '../../src/core/port-status.ts';
import { freeBase } from '../frontends/fakes.ts';
import { RawClient } from '../e2e/console.ts';
import { Daemon, scratchDirectory } from '../e2e/daemon.ts';
import { eventually, LOGIN, logIn, statusIn } from './eventually.ts';
import { startLibvirt, type Libvirt } from './libvirt.ts';

/** What virsh says before the first byte of the guest. */
const GREETING = "Connected to domain 'vm'\r\nEscape character is ^] (Ctrl + ])\r\n";
/** What it says besides: as root without polkit, when the guest goes, and while it is off. */
const OTHER_WORDS = /^(\r\n|Authorization not available\..*\r\n|error: .*\r\n)/;

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

  it('is captured by virsh console, from its first byte and through its reboot', async () => {
    await libvirt.start();
    await serve(`vm: { n: 1, exec: ${JSON.stringify(libvirt.command('console'))} }`);
    await untilLogged('a connection', 'vm', (text) => text.endsWith(GREETING));
    await libvirt.resume();
    await untilBooted(1);
    await rebootByHand();
    const said = await untilBooted(2);
    const logged = await untilLogged('all that was said', 'vm', (text) => text.endsWith(said));
    assert.equal(withoutOtherWords(logged), GREETING + said);
  });

  it('is down with the reason while it is off, and captured when it is there again', async () => {
    const first = libvirt.said().toString('latin1');
    await libvirt.destroy();
    const down = await untilPort('vm', ({ why }) => why?.includes('not running') ?? false);
    assert.equal(down.state, 'down');
    assert.match(
      down.why!,
      /^exec virsh .* console vm \(process \d+\): ended with status 1; it said "error: The domain is not running"/,
    );
    await libvirt.start();
    const before = await untilLogged('a connection', 'vm', (text) => text.endsWith(GREETING));
    assert.equal((await untilPort('vm', () => true)).state, 'up');
    await libvirt.resume();
    const second = await untilBooted(1);
    const logged = await untilLogged('all that was said', 'vm', (text) => text.endsWith(second));
    assert.equal(logged, before + second);
    const [prologue, ...between] = before.split(first);
    assert.equal(withoutOtherWords(prologue!), GREETING);
    assert.equal(between.length, 1);
    assert.match(withoutOtherWords(between[0]!).replaceAll(GREETING, ''), /^$/);
  });

  it('is captured by the pty that virsh ttyconsole names, which is asked again and again', async () => {
    await serve(
      `tty: { n: 1, pty: { command: ${JSON.stringify(libvirt.command('ttyconsole'))} } }`,
    );
    const up = await untilPort('tty', ({ state }) => state === 'up');
    assert.equal(up.why, null);
    await libvirt.destroy();
    const why = /^pty virsh .* ttyconsole vm: the command failed: it ended with status 1/;
    const down = await untilPort('tty', (status) => why.test(status.why ?? ''));
    assert.equal(down.state, 'down');
    const closed = await daemon!.said('port down');
    assert.match(String(closed['why']), /^\/dev\/pts\/\d+: the other end of the pty closed$/);
    await libvirt.start();
    await untilPort('tty', ({ state }) => state === 'up');
    await libvirt.resume();
    await untilBooted(1);
    await rebootByHand();
    const said = await untilBooted(2);
    const logged = await untilLogged('all', 'tty', (text) => text.length >= said.length);
    assert.equal(logged, said);
  });

  async function serve(port: string): Promise<void> {
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
  ${port}
`,
    );
  }

  async function log(port: string): Promise<string> {
    const { stdout } = await daemon!.cli(['log', port, '--format', 'raw']);
    return stdout.toString('latin1');
  }

  function untilLogged(
    what: string,
    port: string,
    isSo: (text: string) => boolean,
  ): Promise<string> {
    return eventually(what, () => log(port), isSo);
  }

  function untilPort(port: string, isSo: (status: PortStatus) => boolean): Promise<PortStatus> {
    const look = async (): Promise<PortStatus> =>
      statusIn(await daemon!.cli(['ports', '--json']), port);
    return eventually('the port', look, isSo);
  }

  /** What it said once it has booted so often since its start, and asks for a login. */
  async function untilBooted(times: number): Promise<string> {
    const look = (): Promise<string> => Promise.resolve(libvirt.said().toString('latin1'));
    return eventually(`boot ${times}`, look, (said) => {
      const boots = said.split('Linux version').slice(1);
      return boots.length === times && boots.at(-1)!.includes(LOGIN);
    });
  }

  /** Who logs in through the port has the guest reboot. */
  async function rebootByHand(): Promise<void> {
    const client = await RawClient.enter(rawPort);
    await logIn(client);
    client.socket.write('reboot -f\r');
    await client.heard.until('Linux version');
    client.socket.destroy();
  }
});

/** What is neither the guest's nor a greeting is taken from the beginning, and from between greetings. */
function withoutOtherWords(text: string): string {
  let rest = text;
  let greetings = '';
  for (;;) {
    const isGreeting = rest.startsWith(GREETING);
    const other = isGreeting ? null : OTHER_WORDS.exec(rest);
    if (!isGreeting && other === null) return greetings + rest;
    greetings += isGreeting ? GREETING : '';
    rest = rest.slice((isGreeting ? GREETING : other![0]).length);
  }
}
