import * as z from 'zod';
import { Fault } from '../core/fault.ts';
import { NAME_PATTERN } from '../core/names.ts';
import type { SequenceStep } from '../core/settings.ts';
import { unescapeText } from '../protocols/escaped-text.ts';
import {
  checkedText,
  duration,
  listOf,
  map,
  mapByName,
  oneKeyOf,
  orNone,
  text,
  textOrNumber,
  wrong,
} from './shapes.ts';
import { parseDurationMs } from './units.ts';

/*
 * What is done to a line by name, or when something happens: steps, and the maps of named sequences.
 */

/** Between the 250 and 500 ms of POSIX tcsendbreak(). */
const BREAK_MS = 300;
const BREAK_MS_MAX = 10_000;
const WAIT_MS_MAX = 60_000;
/** Of one sequence: nothing else may be run on the port meanwhile. */
const TOTAL_MS_MAX = 60_000;
const STEPS_MAX = 100;
const SEND_BYTES_MAX = 4096;
const DAY_MS = 86_400_000;

const stepExpected =
  'a step: break, break 500ms, a wait such as 100ms, "dtr=on rts=off" or { send: TEXT }';

const sendText = text('a text (quote numbers), not empty, of at most 4096 bytes', (given) => {
  try {
    // A copy: what the configuration holds crosses threads, and must not drag a shared pool along.
    const bytes = new Uint8Array(unescapeText(given));
    if (bytes.length > SEND_BYTES_MAX) return wrong(`${bytes.length} bytes are too many`);
    return bytes.length === 0 ? wrong() : { value: bytes };
  } catch (error) {
    if (error instanceof Fault) return wrong(error.message);
    throw error;
  }
}).describe(
  'Text to send: `\\r \\n \\t \\e \\\\` and `\\xNN` are one byte each, all else is UTF-8.',
);

const step = z.union(
  [
    text<SequenceStep>(stepExpected, readStep),
    map('a map with send', { send: sendText }).transform(({ send }) => sending(send)),
  ],
  { error: () => stepExpected },
);

/** Done in order. */
export const steps = listOf(step, 'a list of steps')
  .min(1, { error: () => 'at least one step' })
  .max(STEPS_MAX, { error: () => `at most ${STEPS_MAX} steps` })
  .superRefine((list, context) => {
    const totalMs = list.reduce(
      (sum, part) => sum + ('durationMs' in part ? part.durationMs : 0),
      0,
    );
    if (totalMs <= TOTAL_MS_MAX) return;
    context.addIssue({
      code: 'custom',
      message: `waits and BREAKs of ${TOTAL_MS_MAX / 1000} s in all at most`,
      params: { what: `the steps take ${totalMs / 1000} s` },
    });
  })
  .meta({
    id: 'steps',
    description:
      'A list of steps, done in order: `break` (300 ms) or `break 500ms`, a wait such as `100ms` or `2s`, `dtr=on rts=off` (one or both), and `{ send: "text\\r" }`. 60 s in all at most.',
  });

export const onOpen = z
  .union(
    [
      z.literal('none'),
      map('a map with send', { send: sendText }).transform(({ send }) => [sending(send)]),
      steps,
    ],
    { error: () => '{ send: TEXT }, a list of steps, or none' },
  )
  .transform((value): SequenceStep[] => (value === 'none' ? [] : value))
  .meta({ id: 'onOpen', description: '`{ send: TEXT }`, steps, or `none`.' });

export const onDetach = z
  .union(
    [
      z.enum(['nothing', 'none']),
      oneKeyOf(
        map('a map with send or dropDtr', {
          send: sendText.optional(),
          dropDtr: duration(1, WAIT_MS_MAX, 'a duration from 1ms to 60s, such as 500ms')
            .optional()
            .describe('How long DTR is dropped, such as `500ms`: many systems log out.'),
        }),
        ['send', 'dropDtr'],
      ).transform(({ send, dropDtr }): SequenceStep[] =>
        send ? [sending(send)] : droppingDtr(dropDtr!),
      ),
      steps,
    ],
    { error: () => '{ send: TEXT }, { dropDtr: 500ms }, a list of steps, or nothing' },
  )
  .transform((value): SequenceStep[] => (Array.isArray(value) ? value : []))
  .meta({
    id: 'onDetach',
    description: '`{ send: TEXT }`, `{ dropDtr: 500ms }`, steps, or `nothing`.',
  });

export const idle = orNone(
  oneKeyOf(
    map('a map with after, and send or steps', {
      after: duration(1_000, 7 * DAY_MS, 'a duration from 1s to 7d, such as 10m').describe(
        'How long nothing came and nobody typed.',
      ),
      send: sendText.optional(),
      steps: steps.optional().describe('Steps, instead of a text.'),
    }),
    ['send', 'steps'],
  ).transform(({ after, send, steps: list }) => ({
    afterMs: after,
    steps: send ? [sending(send)] : list!,
  })),
  '{ after: 10m, send: TEXT }, { after: 10m, steps: [...] }, or none',
).meta({ id: 'idle', description: '`{ after: 10m, send: TEXT }`, `{ after, steps }`, or `none`.' });

export const idleTimeout = orNone(
  duration(1_000, 7 * DAY_MS, 'a duration from 1s to 7d, such as 30m, or none'),
  'a duration from 1s to 7d, such as 30m, or none',
);

/** What the task `reset` does; null: there is none. */
export const reset = orNone(steps, 'a list of steps, or none');

/** The keys of the break list. */
export const BREAK_KEY_PATTERN = /^[0-9a-z]$/;
const breakKeyExpected = 'one character, 0-9 or a-z';

const task = z
  .union(
    [
      z.literal('none'),
      map('a map with steps', {
        help: checkedText(
          'one line of at most 200 characters',
          (given) => /^\P{Cc}{1,200}$/u.test(given) && given.trim() !== '',
        )
          .optional()
          .describe('What it is for, one line.'),
        confirm: z
          .boolean({ error: () => 'true or false' })
          .default(false)
          .describe('Whoever asks must say yes first.'),
        key: textOrNumber(breakKeyExpected, (given) =>
          BREAK_KEY_PATTERN.test(given) ? { value: given } : wrong(),
        )
          .optional()
          .describe('Its key in the break list, after `^Ecl`: 0-9 or a-z.'),
        steps: steps.describe('What it does.'),
      }).transform(({ help, confirm, key, steps: list }) => ({
        help: help ?? null,
        confirm,
        breakKey: key ?? null,
        steps: list,
      })),
      steps.transform((list) => ({ help: null, confirm: false, breakKey: null, steps: list })),
    ],
    { error: () => 'a map with steps, a list of steps, or none' },
  )
  .transform((value) => (value === 'none' ? null : value));

/** What a task is, but for its name; null: one of that name is taken away. */
export type TaskValue = z.output<typeof task>;

export const tasks = mapByName('a map of tasks', NAME_PATTERN, task).meta({
  id: 'tasks',
  description:
    'Named sequences: a map with steps, or the steps alone. `none` takes an inherited one away.',
});

export const breaks = mapByName(
  'a map of break keys',
  BREAK_KEY_PATTERN,
  orNone(steps, 'a list of steps, or none'),
).meta({
  id: 'breaks',
  description:
    'The break list by key, 0-9 and a-z: steps each. `none` takes an inherited one away. Short for a task `break-KEY` with this key. `0` is a plain BREAK unless it stands here.',
});

/** `break`, `break 500ms`, `100ms`, `dtr=on rts=off` */
function readStep(given: string): { value: SequenceStep } | { wrong: string | null } {
  const words = given.trim();
  const breaking = /^break(?:\s+(.+))?$/.exec(words);
  if (breaking) {
    const durationMs = breaking[1] === undefined ? BREAK_MS : parseDurationMs(breaking[1]);
    if (durationMs === null) return wrong(`"${breaking[1]}" is no duration`);
    if (isWithin(durationMs, BREAK_MS_MAX)) return { value: { do: 'break', durationMs } };
    return wrong(`a BREAK of ${breaking[1]} is not from 1ms to ${BREAK_MS_MAX / 1000}s`);
  }
  const durationMs = parseDurationMs(words);
  if (durationMs !== null) {
    if (isWithin(durationMs, WAIT_MS_MAX)) return { value: { do: 'wait', durationMs } };
    return wrong(`a wait of ${words} is not from 1ms to ${WAIT_MS_MAX / 1000}s`);
  }
  const driven = /^(dtr|rts)=(on|off)(?:[ ,]+(?!\1)(dtr|rts)=(on|off))?$/.exec(words);
  if (!driven) return wrong();
  const [, first, firstState, second, secondState] = driven;
  const signals = {
    [first!]: firstState === 'on',
    ...(second && { [second]: secondState === 'on' }),
  };
  return { value: { do: 'signals', signals } };
}

function isWithin(durationMs: number, maxMs: number): boolean {
  return durationMs >= 1 && durationMs <= maxMs;
}

function sending(bytes: Uint8Array): SequenceStep {
  return { do: 'send', bytes };
}

function droppingDtr(durationMs: number): SequenceStep[] {
  return [
    { do: 'signals', signals: { dtr: false } },
    { do: 'wait', durationMs },
    { do: 'signals', signals: { dtr: true } },
  ];
}
