import { Fault } from '../core/fault.ts';
import { parseLineSettings } from '../core/line-settings.ts';
import type { Flow } from '../core/line-settings.ts';
import { onePort } from './port-list.ts';
import { needAccess, text } from './verb.ts';
import type { Verb } from './verb.ts';

export const lineVerb: Verb = {
  name: 'line',
  summary: "shows or changes a port's line settings",
  usage: 'PORT [SETTINGS]',
  args: ['<port>', '[settings...]'],
  right: 'control',
  where: 'anywhere',
  needsDaemon: true,
  options: [{ flags: '--flow <flow>', does: 'flow control: none, rtscts or xonxoff' }],
  details: [
    'SETTINGS: "115200 8N1", "115200,8n1", "9600n81" or "115200". A change is for now: the',
    'configuration file is what a restart or reload goes back to. Needs only view to show.',
  ],
  examples: [
    { command: 'fairlead line sw1', does: 'shows the settings' },
    { command: 'fairlead line sw1 9600 8N1', does: 'changes them' },
  ],
  async run(context, parsed) {
    const access = needAccess(context);
    const [name, ...words] = parsed.args as [string, ...string[]];
    const flow = flowOf(text(parsed, 'flow'));
    if (words.length > 0) {
      await access.setLine(context.caller, name, parseLineSettings(words.join(' ')), flow);
      return 0;
    }
    const port = onePort(await access.ports(context.caller), name);
    if (port.line === null) {
      throw new Fault('PORT_UNSUPPORTED', `${port.name} has no line settings: ${port.backend}`);
    }
    if (flow !== null) {
      await access.setLine(context.caller, name, parseLineSettings(port.line), flow);
      return 0;
    }
    await context.io.write(`${port.line}${port.differs ? ' (differs from file)' : ''}\n`);
    return 0;
  },
};

const FLOWS: readonly Flow[] = ['none', 'rtscts', 'xonxoff'];

function flowOf(value: string | undefined): Flow | null {
  if (value === undefined) return null;
  const flow = FLOWS.find((known) => known === value);
  if (flow) return flow;
  throw new Fault('USAGE', `--flow is none, rtscts or xonxoff, not "${value}"`);
}
