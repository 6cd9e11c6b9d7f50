import { Command, CommanderError } from 'commander';
import { EXIT, Fault, exitCodeOf } from '../core/fault.ts';
import type { HostTerminal, VerbIo } from '../core/frontend.ts';
import { didYouMean, nearestWords } from '../core/names.ts';
import { sanitizeText } from '../protocols/sanitize.ts';
import { overview, verbsMarkdown } from './help.ts';
import { VERBS } from './index.ts';
import type { ParsedVerb, Verb, VerbContext } from './verb.ts';

/**
 * Runs one verb of the table and resolves with its exit code (DESIGN 7); never rejects. A Fault
 * becomes `fairlead: ...` on stderr. A reader that went away ends the verb quietly.
 */
export async function runVerb(context: VerbContext, argv: readonly string[]): Promise<number> {
  const io = new GuardedIo(context.io);
  try {
    return await run({ ...context, io }, argv);
  } catch (error) {
    if (io.readerLeft) return EXIT.ok;
    if (!(error instanceof Fault)) {
      if (context.io.signal.aborted) return EXIT.found;
      context.journal.error({ err: error, verb: argv[0] }, 'verb failed');
    }
    const message = error instanceof Error ? error.message : String(error);
    const lines = sanitizeText(message).split('\n');
    await io.writeError(lines.map((line) => `fairlead: ${line}\n`).join('')).catch(() => {});
    return exitCodeOf(error);
  }
}

/**
 * For the local shell: where a command line is to run. `daemon`: by the daemon if one answers, else
 * here, without one. `here`: in this process. `inputFile`: a file whose content is its input.
 */
export function planVerb(argv: readonly string[]): {
  place: 'here' | 'daemon';
  inputFile: string | null;
} {
  const { name, rest } = splitVerb(argv);
  const verb = VERBS.find((candidate) => candidate.name === name);
  if (!verb || (verb.where === 'local' && !verb.needsDaemon && !verb.prefersDaemon)) {
    return { place: 'here', inputFile: null };
  }
  let file: string | true | undefined;
  try {
    file = parse(verb, rest, true, 80).options['file'];
  } catch {
    // Whoever runs it says what is wrong.
  }
  return { place: 'daemon', inputFile: typeof file === 'string' ? file : null };
}

/** `--config` and `--data` wherever they stand before a `--` or a text, for whoever must find the daemon. */
export function findGlobalOptions(argv: readonly string[]): {
  config: string | null;
  data: string | null;
} {
  const found: Record<string, string | null> = { config: null, data: null };
  const { name, rest } = splitVerb(argv);
  const verb = VERBS.find((candidate) => candidate.name === name);
  const words = verb ? separateText(verb, rest) : rest;
  for (let i = 0; i < words.length && words[i] !== '--'; i++) {
    const match = /^--(config|data)(?:=(.*))?$/s.exec(words[i]!);
    if (match) found[match[1]!] = match[2] ?? words[i + 1] ?? null;
  }
  return { config: found['config']!, data: found['data']! };
}

async function run(context: VerbContext, argv: readonly string[]): Promise<number> {
  const { name, rest } = splitVerb(argv);
  const { io } = context;
  const isLocal = LOCAL_FRONTENDS.includes(context.caller.frontend);
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    const about = rest.find((word) => !word.startsWith('-'));
    if (rest.includes('--markdown')) await io.write(verbsMarkdown(VERBS));
    else if (about === undefined) await io.write(overview(VERBS, isLocal));
    else await io.write(newCommand(find(about), isLocal, helpWidth(io)).helpInformation());
    return name === undefined ? EXIT.usage : EXIT.ok;
  }
  const verb = find(name);
  if (verb.where === 'local' && !isLocal) {
    throw new Fault('DENIED', `"${name}" works in the local shell of the server only`);
  }
  let parsed: ParsedVerb;
  try {
    parsed = parse(verb, rest, isLocal, helpWidth(io));
  } catch (error) {
    if (!(error instanceof HelpAsked)) throw error;
    await io.write(error.help);
    return EXIT.ok;
  }
  return verb.run(context, parsed);
}

const LOCAL_FRONTENDS: readonly VerbContext['caller']['frontend'][] = ['local', 'control', 'demo'];
const HELP_COLUMNS = 100;

function helpWidth(io: VerbIo): number {
  return io.isTerminal ? Math.max(40, Math.min(HELP_COLUMNS, io.size().columns)) : HELP_COLUMNS;
}

function find(name: string): Verb {
  const verb = VERBS.find((candidate) => candidate.name === name);
  if (verb) return verb;
  const names = VERBS.map((candidate) => candidate.name);
  const near =
    nearestWords(name, names).length > 0
      ? didYouMean(name, names)
      : '; "fairlead help" lists them all';
  throw new Fault('USAGE', `there is no verb "${name}"${near}`);
}

/** The verb may come after `--config FILE` and `--data DIR`; they are then put behind it. */
function splitVerb(argv: readonly string[]): { name: string | undefined; rest: string[] } {
  let at = 0;
  while (at < argv.length && /^--(config|data)(=|$)/.test(argv[at]!)) {
    at += argv[at]!.includes('=') ? 1 : 2;
  }
  return { name: argv[at], rest: [...argv.slice(0, at), ...argv.slice(at + 1)] };
}

/** Puts a `--` in front of where the text of such a verb begins. */
function separateText(verb: Verb, words: readonly string[]): string[] {
  if (verb.textAfter === undefined) return [...words];
  const takesValue = verb.options
    .filter(({ flags }) => flags.includes('<'))
    .flatMap(({ flags }) => flags.match(/--?[a-z-]+/g) ?? []);
  takesValue.push('--config', '--data');
  let before = 0;
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === '--') break;
    if (word.length > 1 && word.startsWith('-')) {
      if (takesValue.includes(word)) i++;
    } else if (before++ === verb.textAfter) {
      return [...words.slice(0, i), '--', ...words.slice(i)];
    }
  }
  return [...words];
}

class HelpAsked extends Error {
  readonly help: string;
  constructor(help: string) {
    super('help');
    this.help = help;
  }
}

/** @throws Fault USAGE; HelpAsked. */
function parse(
  verb: Verb,
  words: readonly string[],
  isLocal: boolean,
  columns: number,
): ParsedVerb {
  const command = newCommand(verb, isLocal, columns);
  try {
    command.parse(separateText(verb, words), { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) throw new HelpAsked(command.helpInformation());
    const message = error.message
      .replace(/^error: /, '')
      .replace(/\s*\(Did you mean (.*?)\?\)/s, '; did you mean $1?');
    throw new Fault('USAGE', `${verb.name}: ${message} (usage: fairlead ${usageOf(verb)})`);
  }
  return { args: command.args, options: command.opts() };
}

function usageOf(verb: Verb): string {
  return `${verb.name} ${verb.usage}`.trim();
}

function newCommand(verb: Verb, isLocal: boolean, columns: number): Command {
  const command = new Command(verb.name)
    .description(verb.summary)
    .usage(verb.usage)
    .exitOverride()
    .allowExcessArguments(false)
    .configureOutput({
      writeOut: () => {},
      writeErr: () => {},
      getOutHelpWidth: () => columns,
      getOutHasColors: () => false,
    })
    .configureHelp({ commandUsage: () => `fairlead ${usageOf(verb)}`, visibleArguments: () => [] })
    .helpOption('-h, --help', 'show this');
  for (const argument of verb.args) command.argument(argument);
  for (const { flags, does } of verb.options) command.option(flags, does);
  if (isLocal) {
    command.option('--config <file>', 'the configuration file');
    command.option('--data <dir>', 'the data directory');
  }
  const plain = command.helpInformation.bind(command);
  command.helpInformation = (context) => {
    const details = verb.details ? `\n${verb.details.join('\n')}\n` : '';
    const examples = verb.examples.map(({ command: line, does }) => `  ${line}\n      ${does}\n`);
    return `${plain(context)}${details}\nExamples:\n${examples.join('')}`;
  };
  return command;
}

/** Remembers that a write failed: whoever read has gone, and nothing is left to say to them. */
class GuardedIo implements VerbIo {
  readonly #io: VerbIo;
  readerLeft = false;

  constructor(io: VerbIo) {
    this.#io = io;
  }

  get isTerminal(): boolean {
    return this.#io.isTerminal;
  }

  get signal(): AbortSignal {
    return this.#io.signal;
  }

  get timeZone(): string {
    return this.#io.timeZone;
  }

  write(output: string | Uint8Array): Promise<void> {
    return this.#guard(this.#io.write(output));
  }

  writeError(message: string): Promise<void> {
    return this.#guard(this.#io.writeError(message));
  }

  size(): { columns: number; rows: number } {
    return this.#io.size();
  }

  onResize(listener: () => void): void {
    this.#io.onResize(listener);
  }

  onInput(
    listener: ((bytes: Uint8Array | null) => Promise<void> | void) | null,
    raw: boolean,
  ): void {
    this.#io.onInput(listener, raw);
  }

  onBreak(listener: ((durationMs: number) => Promise<void>) | null): void {
    this.#io.onBreak?.(listener);
  }

  onSignal(listener: ((name: string) => boolean) | null): void {
    this.#io.onSignal?.(listener);
  }

  get progress(): VerbIo['progress'] {
    return this.#io.progress;
  }

  get host(): HostTerminal | undefined {
    return this.#io.host;
  }

  async #guard(written: Promise<void>): Promise<void> {
    try {
      await written;
    } catch (error) {
      this.readerLeft = true;
      throw error;
    }
  }
}
