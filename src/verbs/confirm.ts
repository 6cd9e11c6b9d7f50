import { Fault } from '../core/fault.ts';
import { TerminalLines } from './terminal-lines.ts';
import { flag } from './verb.ts';
import type { ParsedVerb, VerbContext, VerbOption } from './verb.ts';

export const YES_OPTION: VerbOption = { flags: '-y, --yes', does: 'do not ask' };

/**
 * Asks before something that cannot be taken back: `--yes` answers, else a terminal is asked.
 * `what`: `power db1 off`.
 * @throws Fault CONFIRM when the answer is not yes, or there is nobody to ask.
 */
export async function confirm(
  { io }: Pick<VerbContext, 'io'>,
  parsed: ParsedVerb,
  what: string,
): Promise<void> {
  if (flag(parsed, 'yes')) return;
  if (!io.isTerminal) throw new Fault('CONFIRM', `${what} must be confirmed: give --yes`);
  const lines = new TerminalLines(io, { raw: true, echo: true, bytesMax: ANSWER_BYTES_MAX });
  try {
    await io.writeError(`${what}? [y/N] `);
    const answer = await lines.next();
    if (answer !== null && /^\s*y(es)?\s*$/i.test(answer)) return;
  } finally {
    lines.close();
  }
  throw new Fault('CONFIRM', 'nothing was done');
}

/**
 * Does what may have to be confirmed. Asks only when nothing else stands against it, so that nobody
 * is asked for what they may not do. @throws what `act` throws; Fault CONFIRM as `confirm`.
 */
export async function confirming<Result>(
  context: Pick<VerbContext, 'io'>,
  parsed: ParsedVerb,
  what: string,
  act: (isConfirmed: boolean) => Promise<Result>,
): Promise<Result> {
  const isAgreed = flag(parsed, 'yes');
  try {
    return await act(isAgreed);
  } catch (error) {
    if (isAgreed || !(error instanceof Fault) || error.code !== 'CONFIRM') throw error;
  }
  await confirm(context, parsed, what);
  return act(true);
}

const ANSWER_BYTES_MAX = 100;
