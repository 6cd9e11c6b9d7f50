import { EXIT } from '../core/fault.ts';
import { flag, globalOptions, needAccess, needLocal, positiveNumber } from './verb.ts';
import type { Verb } from './verb.ts';

export const serveVerb: Verb = {
  name: 'serve',
  summary: 'runs the daemon in the foreground',
  usage: '',
  args: [],
  right: null,
  where: 'local',
  needsDaemon: false,
  options: [{ flags: '--ports', does: 'without a configuration: open the serial ports found' }],
  details: [
    'The configuration is --config, else ./fairlead.yaml, else /etc/fairlead/fairlead.yaml. SIGHUP',
    'reloads it, SIGUSR1 retries ports that are down, SIGTERM ends the daemon.',
  ],
  examples: [
    { command: 'fairlead serve --config rack.yaml', does: 'serves the ports of that file' },
  ],
  run: async (context, parsed) =>
    needLocal(context).serve(
      { ...globalOptions(parsed), ports: flag(parsed, 'ports') },
      context.io,
    ),
};

export const demoVerb: Verb = {
  name: 'demo',
  summary: 'runs the daemon on a rack of simulated machines, one of which panics now and then',
  usage: '',
  args: [],
  right: null,
  where: 'local',
  needsDaemon: false,
  options: [{ flags: '--speed <times>', does: 'so many times faster than life' }],
  examples: [{ command: 'fairlead demo', does: 'and prints the ssh line to try' }],
  run: async (context, parsed) =>
    needLocal(context).demo(
      { ...globalOptions(parsed), speed: positiveNumber(parsed, 'speed') ?? 1 },
      context.io,
    ),
};

export const checkVerb: Verb = {
  name: 'check',
  summary: 'checks the configuration file',
  usage: '',
  args: [],
  right: null,
  where: 'local',
  needsDaemon: false,
  options: [{ flags: '--assign', does: 'write missing port numbers (n) into the file' }],
  details: ['Exit code 2, with file, line and column, when it is refused.'],
  examples: [{ command: 'fairlead check --config rack.yaml', does: 'before a reload' }],
  async run(context, parsed) {
    const local = needLocal(context);
    const found = await local.check({ ...globalOptions(parsed), assign: flag(parsed, 'assign') });
    for (const line of found) await context.io.write(`${line}\n`);
    return EXIT.ok;
  },
};

export const reloadVerb: Verb = {
  name: 'reload',
  summary: 'makes the daemon read its configuration again',
  usage: '',
  args: [],
  right: 'admin',
  where: 'local',
  needsDaemon: true,
  options: [],
  details: [
    'It is applied whole or not at all. Ports that did not change lose no byte and no session.',
  ],
  examples: [{ command: 'fairlead reload', does: 'prints what changed' }],
  async run(context, parsed) {
    const { daemon, local, io } = context;
    if (daemon !== null) {
      const changes = await daemon.reload(context.caller);
      await io.write(changes.length === 0 ? 'nothing changed\n' : `${changes.join('\n')}\n`);
      return EXIT.ok;
    }
    if (local === null) needAccess({ ...context, access: null });
    await needLocal(context).signalReload(globalOptions(parsed));
    await io.write('the daemon was told to reload; its journal says what came of it\n');
    return EXIT.ok;
  },
};

export const verifyVerb: Verb = {
  name: 'verify',
  summary: 'checks the whole log: every checksum, the hash chain, no hole that is not recorded',
  usage: '',
  args: [],
  right: null,
  where: 'local',
  needsDaemon: false,
  options: [],
  details: [
    'Exit code 0, with recorded gaps listed, or 1 with the first damage, hole or cut tail named.',
  ],
  examples: [{ command: 'fairlead verify --data /var/lib/fairlead', does: 'also while it runs' }],
  async run(context, parsed) {
    const isClean = await needLocal(context).verify(
      globalOptions(parsed),
      (line) => context.io.write(`${line}\n`),
      context.io.signal,
    );
    return isClean ? EXIT.ok : EXIT.found;
  },
};
