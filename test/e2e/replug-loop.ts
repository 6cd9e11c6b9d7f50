import { LINES, startAppliance } from './guest/appliance.ts';
import { describeReturns, replug } from './guest/replug.ts';

/**
 * Two FTDI adapters in a guest, unplugged and plugged in again that many times (default 50), with
 * their names swapped each time. Fails when a return was not captured within 1 s, or a byte came to
 * the wrong port. `replug-loop.js [COUNT]`.
 */
const LIMIT_MS = 1_000;

async function main(count: number): Promise<boolean> {
  const appliance = await startAppliance({
    ports: `
  usb0: { n: 1, match: { vendor: '0403', serial: LEFT } }
  usb1: { n: 2, device: ${LINES.usb1.path} }
`,
  });
  try {
    for (const port of ['usb0', 'usb1']) {
      await appliance.daemon.said('port up', (entry) => entry['port'] === port);
    }
    const returns = await replug(appliance, count);
    console.log(describeReturns(returns));
    const late = returns.filter(({ upMs, byteMs }) => upMs > LIMIT_MS || byteMs > LIMIT_MS);
    for (const made of late) console.log(`late: ${JSON.stringify(made)}`);
    return late.length === 0;
  } finally {
    await appliance.stop();
  }
}

process.exitCode = (await main(Number(process.argv[2] ?? 50))) ? 0 : 1;
