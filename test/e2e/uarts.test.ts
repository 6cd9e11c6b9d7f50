import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startAppliance, LINES, type Appliance } from './guest/appliance.ts';

describe('real UARTs', () => {
  let appliance: Appliance;
  before(async () => {
    const t0 = performance.now();
    appliance = await startAppliance({
      ports: `
  com2: { n: 1, device: ${LINES.com2.path} }
  usb0: { n: 2, device: ${LINES.usb0.path} }
`,
    });
    console.log('ready after', performance.now() - t0);
  });
  after(async () => {
    await appliance?.stop();
  });
  it('explores', async () => {
    for (const script of (process.env['EXPLORE'] ?? 'uptime').split(';;')) {
      const t0 = performance.now();
      try { console.log('$', script, '\n' + (await appliance.shell(script))); } catch (e) { console.log(String(e)); }
      console.log('  took', Math.round(performance.now() - t0));
    }
    const t0 = performance.now();
    console.log((await appliance.fairlead(['ports'])).stdout.toString(), performance.now() - t0);
    console.log(await appliance.log('com2'), performance.now() - t0);
    for (const e of appliance.daemon.journal) console.log(JSON.stringify(e));
    assert.ok(true);
  });
});
