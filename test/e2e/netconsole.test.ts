import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { freeUdpPort } from '../support/udp.ts';
import { Daemon, scratchDirectory } from './daemon.ts';
import { startGuest } from './guest/guest.ts';
import type { Guest } from './guest/guest.ts';

/** The kernel's console message that ends every panic. */
const LAST_WORDS = /end Kernel panic - not syncing: sysrq triggered crash/;

describe('the netconsole of a kernel', () => {
  const scratch = scratchDirectory();
  let daemon: Daemon;
  let guest: Guest;
  const udpPorts = { basic: 0, extended: 0, auto: 0 };

  before(async () => {
    for (const name of ['basic', 'extended', 'auto'] as const) udpPorts[name] = await freeUdpPort();
    daemon = await Daemon.start(
      scratch.path,
      `
data: ./data
autoPorts:
  - { udp: '127.0.0.1:${udpPorts.auto}', from: 127.0.0.0/8, format: netconsole, max: 1, prefix: nc- }
ports:
  basic: { udp: { listen: '127.0.0.1:${udpPorts.basic}', from: 127.0.0.1, format: netconsole } }
  extended: { udp: { listen: '127.0.0.1:${udpPorts.extended}', from: 127.0.0.1, format: netconsole } }
`,
    );
    const target = (udpPort: number): string => `6665@10.0.2.15/eth0,${udpPort}@10.0.2.2/`;
    guest = await startGuest({
      serial: 'unix',
      append: `guest.die=3 guest.netconsole=${target(udpPorts.basic)};+${target(udpPorts.extended)};+${target(udpPorts.auto)}`,
      packets: join(scratch.path, 'packets'),
    });
    await guest.run();
    await guest.saidText(LAST_WORDS);
  });
  after(async () => {
    await guest?.stop();
    await daemon?.stop();
    scratch.dispose();
  });

  const log = async (port: string): Promise<string> =>
    (await daemon.cli(['log', port, '--format', 'raw'])).stdout.toString('latin1');

  /** The log has the last words, which left the guest before its serial line had them. */
  async function hasPanicked(port: string): Promise<void> {
    for (let tries = 0; !LAST_WORDS.test(await log(port)); tries++) {
      assert.ok(tries < 60, `no panic in the log of ${port}`);
      await sleep(200);
    }
  }

  /** What the guest sent to that UDP port, as QEMU wrote it down on its side of the wire. */
  const sent = (udpPort: number): Buffer[] =>
    datagramsIn(readFileSync(join(scratch.path, 'packets')), udpPort);

  it('basic: the log is what was sent, through the panic', async () => {
    await hasPanicked('basic');
    const said = Buffer.concat(sent(udpPorts.basic)).toString('latin1');
    assert.match(said, /Linux version/);
    assert.equal(await log('basic'), said.replaceAll('\n', '\r\n'));
  });

  it('extended: every message once, in order and whole', async () => {
    await hasPanicked('extended');
    const messages = messagesOf(sent(udpPorts.extended));
    assert.ok(messages.length > 100);
    assert.equal(await log('extended'), messages.join(''));
  });

  it('makes a port for a source that none claims, and keeps what it said before that', async () => {
    const name = 'nc-127.0.0.1';
    await hasPanicked(name);
    assert.equal(await log(name), messagesOf(sent(udpPorts.auto)).join(''));
    const ports = JSON.parse((await daemon.cli(['ports', '--json'])).stdout.toString()) as {
      name: string;
      state: string;
    }[];
    assert.deepEqual(
      ports.map((port) => [port.name, port.state]),
      [
        ['basic', 'up'],
        ['extended', 'up'],
        [name, 'up'],
      ],
    );
  });
});

/** The text of extended messages, by the shortest way: each sequence once, sorted. */
function messagesOf(datagrams: readonly Buffer[]): string[] {
  const bodies = new Map<number, { microseconds: number; parts: Map<number, string> }>();
  for (const datagram of datagrams) {
    const [head, ...rest] = datagram.toString('latin1').split(';');
    const [, sequence, microseconds, , ...fields] = head!.split(',');
    const offset = Number(/ncfrag=(\d+)/.exec(fields.join(','))?.[1] ?? 0);
    const known = bodies.get(Number(sequence));
    const message = known ?? { microseconds: Number(microseconds), parts: new Map() };
    bodies.set(Number(sequence), message);
    message.parts.set(offset, rest.join(';'));
  }
  return [...bodies]
    .sort(([a], [b]) => a - b)
    .map(([, { microseconds, parts }]) => {
      const body = [...parts].sort(([a], [b]) => a - b).map(([, text]) => text);
      const text = body
        .join('')
        .replace(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
      const time = (microseconds / 1e6).toFixed(6).padStart(12);
      return `[${time}] ${text}`.replaceAll('\n', '\r\n');
    });
}

/** UDP payloads to a port, of a packet capture of Ethernet frames (pcap-savefile(5)). */
function datagramsIn(capture: Buffer, udpPort: number): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 24; at + 16 <= capture.length;) {
    const length = capture.readUInt32LE(at + 8);
    const frame = capture.subarray(at + 16, at + 16 + length);
    at += 16 + length;
    if (frame.length < 42 || frame.readUInt16BE(12) !== 0x0800 || frame[23] !== 17) continue;
    const udp = frame.subarray(14 + (frame[14]! & 0xf) * 4);
    if (udp.readUInt16BE(2) === udpPort) found.push(udp.subarray(8, udp.readUInt16BE(4)));
  }
  return found;
}
