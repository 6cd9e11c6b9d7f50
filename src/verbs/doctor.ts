import type { Finding, LoopbackResult } from '../core/diagnosis.ts';
import { EXIT, Fault } from '../core/fault.ts';
import { parseLineSettings } from '../core/line-settings.ts';
import { sanitizeText } from '../protocols/sanitize.ts';
import { confirming, YES_OPTION } from './confirm.ts';
import { flag, needLocal, text } from './verb.ts';
import type { LineActions, ParsedVerb, Verb, VerbContext } from './verb.ts';

export const doctorVerb: Verb = {
  name: 'doctor',
  summary: 'finds out why a line does not work, and says what to do',
  usage: '[PORT|PATH]',
  args: ['[port]'],
  right: null,
  where: 'local',
  needsDaemon: false,
  options: [
    {
      flags: '--loopback',
      does: 'test a loop-back plug: send a random pattern, compare what comes back',
    },
    { flags: '--line <settings>', does: 'with --loopback: at these settings, such as "9600 8N1"' },
    YES_OPTION,
    { flags: '--json', does: 'print JSON: an array of findings, or the result of the test' },
  ],
  details: [
    'Without PORT it looks at every port of the configuration, and without one at every serial line.',
    'Opens nothing and changes nothing, unless --loopback says so: then the daemon lets go of the port',
    'for the test, a few seconds. A plug joins RxD with TxD; RTS with CTS and DTR with DSR and DCD are',
    'tested too. Exit code 1 when there is an error or a warning; a note alone is none.',
    'Run it as root: others do not see which programs hold a line.',
  ],
  examples: [
    { command: 'sudo fairlead doctor', does: 'everything' },
    { command: 'sudo fairlead doctor db1', does: 'one port' },
    {
      command: 'fairlead doctor /dev/ttyUSB0 --loopback --line "9600 8N1"',
      does: 'tests the wire',
    },
  ],
  async run(context, parsed) {
    const { lines } = needLocal(context);
    const about = parsed.args[0] ?? null;
    if (flag(parsed, 'loopback')) return loopback(context, lines, parsed, about);
    const findings = await lines.doctor(about);
    const { io } = context;
    if (flag(parsed, 'json')) await io.write(`${JSON.stringify(findings, null, 2)}\n`);
    else if (findings.length === 0) await io.write('nothing wrong was found\n');
    else await io.write(formatFindings(findings));
    const isSerious = findings.some(({ severity }) => severity !== 'note');
    return isSerious ? EXIT.found : EXIT.ok;
  },
};

/** The worst first; each with its cause and what to do. */
function formatFindings(findings: readonly Finding[]): string {
  const sorted = SEVERITIES.flatMap((severity) =>
    findings.filter((finding) => finding.severity === severity),
  );
  return sorted
    .map(({ severity, subject, why, fix }) =>
      sanitizeText(`${severity}: ${subject}: ${why}\n    ${fix}\n`),
    )
    .join('');
}

const SEVERITIES: readonly Finding['severity'][] = ['error', 'warning', 'note'];

async function loopback(
  context: VerbContext,
  lines: LineActions,
  parsed: ParsedVerb,
  about: string | null,
): Promise<number> {
  if (about === null) throw new Fault('USAGE', 'doctor: --loopback needs a PORT or PATH');
  const settings = text(parsed, 'line');
  const line = settings === undefined ? null : parseLineSettings(settings);
  const what = `send random bytes out of ${about}, where only a loop-back plug should be`;
  const result = await confirming(context, parsed, what, (isConfirmed) =>
    lines.loopback({ about, line, isConfirmed }),
  );
  const { io } = context;
  if (flag(parsed, 'json')) await io.write(`${JSON.stringify(result, null, 2)}\n`);
  else await io.write(formatLoopback(result));
  return isWhole(result) ? EXIT.ok : EXIT.found;
}

function isWhole(result: LoopbackResult): boolean {
  const { parity, framing, overrun, breaks } = result;
  const bad = result.wrong + result.missing + result.extra + parity + framing + overrun + breaks;
  return bad === 0 && result.right === result.sentBytes;
}

function formatLoopback(result: LoopbackResult): string {
  const { sentBytes, right, wrong, missing, extra, durationMs } = result;
  const { parity, framing, overrun, breaks, signals } = result;
  const lines = [
    `${sanitizeText(result.device)} at ${result.line}: ${sentBytes} bytes sent, ${right} came back right in ${durationMs} ms`,
    `  ${wrong} wrong, ${missing} missing, ${extra} never sent; ${parity} parity, ${framing} framing errors, ${overrun} overrun, ${breaks} BREAKs`,
    `  RTS ${follows(signals.rts, 'cts')}; DTR ${follows(signals.dtr, 'dsr')}`,
  ];
  if (right === 0 && extra + wrong === 0) {
    lines.push('  Nothing came back: is the plug on this line, and does it join RxD with TxD?');
  }
  return `${lines.join('\n')}\n`;
}

/** What a full plug joins is said when it does not: many join RxD and TxD only. */
function follows(signals: readonly string[] | null, wanted: string): string {
  if (signals === null) return 'cannot be tested here';
  if (signals.length === 0) return `moves nothing (no wire to ${wanted.toUpperCase()})`;
  return `moves ${signals.map((name) => name.toUpperCase()).join(' and ')}`;
}
