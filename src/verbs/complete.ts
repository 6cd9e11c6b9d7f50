import { Fault } from '../core/fault.ts';
import { POWER_ACTIONS } from '../core/settings.ts';
import { SYSRQ_NAMES } from './sysrq.ts';
import type { Verb, VerbContext } from './verb.ts';

/** `verbs`: the table. */
export function completeVerbOf(verbs: () => readonly Verb[]): Verb {
  return {
    name: 'complete',
    summary: 'prints what a command line could go on with, for shells',
    usage: '[WORD...]',
    args: ['[words...]'],
    textAfter: 0,
    right: 'view',
    where: 'anywhere',
    needsDaemon: false,
    options: [],
    details: ['WORDs are those after "fairlead"; the last one, perhaps empty, is completed.'],
    examples: [{ command: 'fairlead complete attach d', does: 'ports that begin with d' }],
    async run(context, parsed) {
      const words = parsed.args.length === 0 ? [''] : parsed.args;
      const begun = words.at(-1)!.toLowerCase();
      const known = await candidates(context, verbs(), words);
      const fitting = known.filter((word) => word.toLowerCase().startsWith(begun));
      if (fitting.length > 0) await context.io.write(`${fitting.join('\n')}\n`);
      return 0;
    },
  };
}

export const completionVerb: Verb = {
  name: 'completion',
  summary: 'prints a script that makes a shell complete verbs, options, ports and tasks',
  usage: 'bash',
  args: ['<shell>'],
  right: null,
  where: 'local',
  needsDaemon: false,
  options: [],
  examples: [
    {
      command: 'fairlead completion bash > /etc/bash_completion.d/fairlead',
      does: 'for everybody on this machine',
    },
  ],
  async run({ io }, parsed) {
    if (parsed.args[0] !== 'bash') {
      throw new Fault('USAGE', `completion: only for bash, not for "${parsed.args[0]}"`);
    }
    await io.write(BASH);
    return 0;
  },
};

const BASH = `# Completion of fairlead for bash.
_fairlead() {
  local IFS=$'\\n'
  COMPREPLY=($(fairlead complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _fairlead fairlead
`;

async function candidates(
  context: VerbContext,
  verbs: readonly Verb[],
  words: readonly string[],
): Promise<string[]> {
  const [name, ...rest] = words as [string, ...string[]];
  const names = [...verbs.map((verb) => verb.name), 'help'].sort();
  if (rest.length === 0 || (name === 'help' && rest.length === 1)) return names;
  const verb = verbs.find((each) => each.name === name);
  if (!verb) return [];
  if (rest.at(-1)!.startsWith('-')) {
    return verb.options.flatMap(({ flags }) => flags.match(/--[a-z-]+/g) ?? []);
  }
  if (rest.at(-2) === '--sysrq') return Object.keys(SYSRQ_NAMES);
  const given = rest.slice(0, -1).filter((word) => !word.startsWith('-'));
  const takesManyPorts = verb.args[0] === '<globs...>' || verb.args[0] === '[globs...]';
  const isPort = ['<port>', '[port]'].includes(verb.args[0] ?? '') || verb.name === 'message';
  if (takesManyPorts || (isPort && given.length === 0)) return portNames(context);
  if (verb.name === 'task' && given.length === 1) return taskNames(context, given[0]!);
  if (verb.name === 'power' && given.length === 1) return [...POWER_ACTIONS];
  return [];
}

async function portNames({ access, log, caller }: VerbContext): Promise<string[]> {
  if (access)
    return (await access.ports(caller)).flatMap(({ name, aliases }) => [name, ...aliases]);
  return log ? (await log.ports(caller)).map(({ name }) => name) : [];
}

async function taskNames({ access, caller }: VerbContext, port: string): Promise<string[]> {
  if (!access) return [];
  const { tasks } = await access.inspect(caller, port);
  return tasks.map((task) => task.name);
}
