import { it } from 'node:test';
import { startAppliance } from '../e2e/guest/appliance.ts';

it('explores', async () => {
  const t0 = performance.now();
  const appliance = await startAppliance({
    on: 'xen',
    ports: `  g1: { n: 1, pty: { command: [sh, -c, 'id=$(xl domid "$0") && exec xenstore-read "/local/domain/$id/console/tty"', g1] } }`,
  });
  console.log('ready', performance.now() - t0);
  const { createServer } = await import('node:net');
  const server = createServer((s) => {
    let text = '';
    s.on('data', (b: Buffer) => {
      text += b.toString();
      if (!text.endsWith('\n.\n')) return;
      const script = text.slice(0, -3);
      text = '';
      const t = performance.now();
      const run = script.startsWith('fl ')
        ? appliance
            .fairlead(script.slice(3).split(' '), 'may fail')
            .then((r) => r.stdout.toString() + r.stderr)
        : script === 'journal'
          ? Promise.resolve(appliance.daemon.journal.map((e) => JSON.stringify(e)).join('\n'))
          : appliance.shell(script);
      run
        .catch(String)
        .then((out) => s.end(`${out}\ntook ${Math.round(performance.now() - t)} ms\n`));
    });
  });
  server.listen('/tmp/fl/K/x.sock');
  await new Promise<void>((r) => process.once('SIGTERM', () => r()));
  server.close();
  await appliance.stop();
});
