import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { PortStatus } from '../../src/core/port-status.ts';
import { RawClient } from '../e2e/console.ts';
import { startAppliance, type Appliance } from '../e2e/guest/appliance.ts';
import { linuxImage } from '../e2e/guest/image.ts';
import { eventually, LOGIN, logIn, statusIn } from './eventually.ts';

/** By name: a domain's number is another after each restart. */
const CONSOLE_OF = 'id=$(xl domid "$0") && exec xenstore-read "/local/domain/$id/console/tty"';

/** What xl says. */
const NO_SUCH_GUEST = "Can't get domid of domain name 'g1', maybe this domain does not exist.";

const isWithout = ({ why }: PortStatus): boolean => why?.includes(NO_SUCH_GUEST) ?? false;

const SETUP = `
PATH=$PATH:$(echo /usr/lib/xen-4.*/bin)
ln -s $(command -v xl) /usr/bin
mkdir -p /proc/xen /var/lib/xen /var/log/xen /run/xen /run/xenstored
mount -t xenfs xenfs /proc/xen
xenstored --pid-file /run/xenstored.pid
until [ -e /run/xenstored/socket ]; do sleep 0.1; done
xen-init-dom0
xenconsoled --log=guest --log-dir=/data --timestamp=none --pid-file=/run/xenconsoled.pid
`;

describe("Xen's guests, by the pty that xenstore names", () => {
  let appliance: Appliance;

  before(async () => {
    const port = (n: number): string =>
      `g${n}: { n: ${n}, pty: { command: [sh, -c, '${CONSOLE_OF}', g${n}] } }`;
    appliance = await startAppliance({ on: 'xen', ports: `  ${port(1)}\n  ${port(2)}` });
    await appliance.shell(SETUP);
    const { kernel, initramfs } = linuxImage();
    for (const name of ['g1', 'g2']) {
      await appliance.shell(`cat >/data/${name}.cfg <<'END'
name = "${name}"
kernel = "${kernel}"
ramdisk = "${initramfs}"
memory = 160
extra = "console=hvc0 guest.tty=hvc0 panic=0"
on_crash = "restart"
END`);
    }
  });
  after(async () => {
    await appliance?.stop();
  });

  function untilPort(
    what: string,
    port: string,
    isSo: (status: PortStatus) => boolean,
  ): Promise<PortStatus> {
    const look = async (): Promise<PortStatus> =>
      statusIn(await appliance.fairlead(['ports', '--json']), port);
    return eventually(what, look, isSo);
  }

  /** Why each time it went down, in order. */
  const whyDown = (port: string): string[] =>
    appliance.daemon.journal
      .filter((entry) => entry.msg === 'port down' && entry['port'] === port)
      .map((entry) => String(entry['why']));

  const rx = async (port: string): Promise<string> => (await appliance.rx(port)).toString('latin1');

  /** What xenconsoled itself wrote down of all lives of that guest. */
  const truth = (name: string): Promise<string> =>
    appliance.shell(`cat /data/guest-${name}.log || true`);

  /** The log of the port is what the guest said, which has booted so often and asks for a login. */
  async function isCaptured(name: string, boots: number): Promise<void> {
    const said = await eventually(
      `boot ${boots} of ${name}`,
      () => truth(name),
      (said) => said.split(LOGIN).length > boots && said.trimEnd().endsWith(LOGIN.trimEnd()),
    );
    const logged = await eventually(
      'all of it',
      () => rx(name),
      (logged) => logged.length >= said.length,
    );
    assert.equal(logged, said);
    assert.equal(said.split('Linux version').length - 1, boots);
  }

  /** What the log has of a boot, and of those before it, is what the guest said. */
  async function hasBegun(name: string, boots: number): Promise<void> {
    const logged = await eventually(
      `boot ${boots} of ${name}`,
      () => rx(name),
      (logged) => logged.split('Linux version').length > boots,
    );
    assert.ok((await truth(name)).startsWith(logged));
  }

  const pathOf = async (name: string): Promise<string> =>
    (await appliance.shell(`sh -c '${CONSOLE_OF}' ${name}`)).trim();

  it('is down while there is no such guest, and says so', async () => {
    const { state, why } = await untilPort('the reason', 'g1', isWithout);
    assert.equal(state, 'down');
    assert.match(why!, /^pty sh -c .* g1: the command failed: it ended with status 1; it said "/);
  });

  it('is captured from its first byte when it is made', async () => {
    await appliance.shell('xl create -q /data/g1.cfg');
    await isCaptured('g1', 1);
    assert.ok((await untilPort('the port', 'g1', () => true)).state === 'up');
  });

  it('is captured across its crash, which makes it a domain of another number', async () => {
    const number = await appliance.shell('xl domid g1');
    const client = await RawClient.enter(appliance.doors.raw + 1);
    await logIn(client);
    client.socket.write('echo c >/proc/sysrq-trigger\r');
    await client.heard.until('Kernel panic - not syncing');
    await isCaptured('g1', 2);
    client.socket.destroy();
    assert.notEqual(await appliance.shell('xl domid g1'), number);
    assert.match(whyDown('g1').at(-1)!, /^\/dev\/pts\/\d+: the other end of the pty closed$/);
  });

  it('is followed to another pty, and not to the guest that has its old one now', async () => {
    const old = await pathOf('g1');
    await appliance.shell('xl destroy g1');
    await untilPort('the reason', 'g1', isWithout);
    await appliance.shell('xl create -q -p /data/g2.cfg');
    assert.equal(await pathOf('g2'), old);
    await appliance.shell('xl create -q -p /data/g1.cfg');
    const path = await pathOf('g1');
    assert.notEqual(path, old);
    await appliance.daemon.said(
      'port up',
      ({ port, backend }) => port === 'g1' && String(backend).startsWith(`${path} `),
    );
    await appliance.shell('xl unpause g1');
    await hasBegun('g1', 3);
    assert.equal(await rx('g2'), '');
    await appliance.shell('xl unpause g2');
    await hasBegun('g2', 1);
  });
});
