import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { checkConfig } from '../../src/config/load.ts';
import type { DiscoveredLine, UsbIdentity } from '../../src/core/diagnosis.ts';
import { stanzaFor } from '../../src/verbs/stanza.ts';
import { Bench, SSH_CALLER } from './fakes.ts';

const USB: UsbIdentity = {
  vendor: '0403',
  product: '6001',
  serial: 'A50285BI',
  maker: 'FTDI',
  model: 'FT232R USB UART',
  interface: 0,
  usbPath: '1-1.2',
};

function line(device: string, more: Partial<DiscoveredLine> = {}): DiscoveredLine {
  return {
    path: device,
    device,
    driver: null,
    usb: null,
    sharesIdentity: false,
    isConsole: false,
    heldBy: null,
    port: null,
    said: null,
    ...more,
  };
}

describe('discover', () => {
  it('shows each line, who has it, what it said, and what to paste', async () => {
    const bench = new Bench();
    bench.local.found = [
      line('/dev/ttyS0', { driver: 'serial', port: 'db1' }),
      line('/dev/ttyUSB0', {
        path: '/dev/serial/by-id/usb-FTDI_FT232R_A50285BI-if00-port0',
        usb: USB,
        heldBy: { pid: 42, name: 'mini\x1b[31mcom' },
        said: { bytes: 7, text: 'login:', line: '115200 8N1', why: null },
      }),
    ];
    assert.equal(await bench.run('discover'), 0);
    const { output } = bench.io;
    assert.match(output, /^\/dev\/ttyS0 +db1 +serial/m);
    assert.match(output, /^\/dev\/ttyUSB0 .*0403:6001 .*A50285BI .*minicom \(42\) +7 +login:/m);
    assert.match(output, /^ports:\n {2}ft232r-A50285BI: \{ device: \/dev\/serial\/by-id\/usb-/m);
    assert.ok(!output.includes('db1:'), 'a port that is there is not offered anew');
    assert.deepEqual(bench.local.asked, [['discover', { listenMs: null, line: null }]]);
  });

  it('fits the terminal', async () => {
    for (let columns = 40; columns <= 200; columns += 20) {
      const bench = new Bench();
      bench.io.isTerminal = true;
      bench.io.columns = columns;
      const path = `/dev/serial/by-id/usb-${'x'.repeat(80)}`;
      bench.local.found = [line('/dev/ttyUSB0', { path, usb: USB, driver: 'ftdi_sio', port: 'a' })];
      await bench.run('discover');
      for (const row of bench.io.output.split('\r\n')) assert.ok(row.length <= columns, row);
    }
  });

  it('opens nothing until it is told to listen, and says what that does', async () => {
    const bench = new Bench();
    bench.local.found = [line('/dev/ttyS0')];
    assert.equal(await bench.run('discover', '--listen', '2.5', '--line', '9600 7E1'), 0);
    assert.match(bench.io.errors, /DTR/);
    const settings = { baud: 9_600, dataBits: 7, parity: 'even', stopBits: 1 };
    assert.deepEqual(bench.local.asked, [['discover', { listenMs: 2_500, line: settings }]]);
    assert.equal(await new Bench().run('discover', '--listen', 'long'), 2);
    assert.equal(await new Bench().run('discover', '--line', '9600 9X9'), 2);
  });

  it('prints JSON, and nothing but a word when there is nothing', async () => {
    const bench = new Bench();
    assert.equal(await bench.run('discover'), 0);
    assert.match(bench.io.errors, /no serial line/);
    bench.local.found = [line('/dev/ttyS0')];
    await bench.run('discover', '--json');
    assert.deepEqual(JSON.parse(bench.io.output), bench.local.found);
  });

  it('works in the local shell only', async () => {
    const bench = new Bench({ caller: SSH_CALLER, local: null });
    assert.equal(await bench.run('discover'), 4);
    assert.equal(await bench.run('doctor'), 4);
  });
});

describe('the stanza to paste', () => {
  const found = [
    line('/dev/ttyS0', { isConsole: true }),
    line('/dev/ttyS1'),
    line('/dev/ttyUSB0', {
      path: '/dev/serial/by-path/pci-0000:00:04.0-usb-0:1.2:1.0-port0',
      usb: { ...USB, serial: null },
    }),
    line('/dev/ttyUSB1', { usb: USB }),
    line('/dev/ttyUSB2', { usb: { ...USB, interface: 2 }, sharesIdentity: true }),
    line('/dev/ttyUSB3', { usb: { ...USB, model: null, serial: 'B2' } }),
    line('/dev/ttyUSB4', { usb: { ...USB, serial: 'A "quoted": #1', model: '123' } }),
    line('/dev/ttyACM0', { usb: USB, path: '/dev/serial/by-id/usb-Ä_\u{1f600}-if00' }),
  ];

  it('has a stable path, else a match, and a name that is free', () => {
    assert.equal(
      stanzaFor(found),
      `ports:
  # this machine's own console: ttyS0: { device: /dev/ttyS0 }
  ttyS1: { device: /dev/ttyS1 }
  ft232r: { device: "/dev/serial/by-path/pci-0000:00:04.0-usb-0:1.2:1.0-port0" }
  ft232r-A50285BI: { match: { vendor: "0403", product: "6001", serial: "A50285BI" } }
  ft232r-A50285BI-2: { match: { vendor: "0403", product: "6001", usbPath: "1-1.2", interface: 2 } }
  ttyUSB3: { match: { vendor: "0403", product: "6001", serial: "B2" } }
  123-Aquoted1: { match: { vendor: "0403", product: "6001", serial: "A \\"quoted\\": #1" } }
  ttyACM0: { device: "/dev/serial/by-id/usb-Ä_\u{1f600}-if00" }
`,
    );
    assert.equal(stanzaFor([line('/dev/ttyS0', { port: 'db1' })]), null);
  });

  it('is taken by the configuration as it is', () => {
    const directory = mkdtempSync(join(tmpdir(), 'fairlead-stanza-'));
    const file = join(directory, 'fairlead.yaml');
    writeFileSync(file, `data: ${directory}\n${stanzaFor(found)}`);
    const { settings, problems } = checkConfig(file, { verbs: [], machines: [] });
    assert.deepEqual(
      problems.filter(({ severity }) => severity === 'error'),
      [],
    );
    const usb2 = settings!.ports.find(({ name }) => name === 'ft232r-A50285BI-2')!.backend;
    assert.deepEqual(usb2.kind === 'device' && usb2.match, {
      vendor: '0403',
      product: '6001',
      usbPath: '1-1.2',
      interface: 2,
    });
    rmSync(directory, { recursive: true });
  });
});
