import { Fault } from '../core/fault.ts';
import type { LogPlace } from '../core/log-reader.ts';

/** When and where an expression is read. */
export interface TimeContext {
  /** Microseconds since the Unix epoch. */
  nowUs: number;
  /** IANA name; one the system does not know counts as UTC. */
  timeZone: string;
}

/** For help and for faults. */
export const TIME_EXPRESSIONS =
  '10m (ago), 2h30m, "2026-11-20 03:12", 03:12, now, today, yesterday, 2026-11-20T03:12:00Z, boot, @OFFSET or @EPOCH/OFFSET';

/**
 * Reads a time as people write it (DESIGN 7): `10m` ago, `2h30m`, `2026-11-20`, `2026-11-20
 * 03:12[:10[.123]]`, `03:12` (the last such), `now`, `today`, `yesterday [03:12]`, ISO 8601, `boot`,
 * `@OFFSET`, `@EPOCH/OFFSET`. Without a zone a time is local: of two (clocks go back) the first; of
 * none (clocks go forward) as much later as they go forward.
 * @throws Fault TIME_INVALID; NOT_FOUND for `incident:ID`, as none are kept yet.
 */
export function parseTimeExpression(text: string, context: TimeContext): LogPlace {
  const trimmed = text.trim();
  const offset = /^@(?:(\d{1,15})\/)?(\d{1,15})$/.exec(trimmed);
  if (offset) {
    const place = { at: 'offset', offset: Number(offset[2]) } as const;
    return offset[1] === undefined ? place : { ...place, epoch: Number(offset[1]) };
  }
  const word = trimmed.toLowerCase();
  if (word === 'boot') return { at: 'boot' };
  if (word.startsWith('incident:')) {
    throw new Fault('NOT_FOUND', `"${trimmed}": no incidents are kept yet`);
  }
  const us = agoUs(word, context.nowUs) ?? wallUs(word, context);
  if (us === null || !Number.isFinite(us)) {
    throw new Fault('TIME_INVALID', `"${text}" is not a time; expected ${TIME_EXPRESSIONS}`);
  }
  return { at: 'time', us: Math.max(0, us) };
}

export interface TimeFormat {
  /** Digits of the second's fraction. Default 3. */
  digits?: 0 | 3 | 6;
  /** `time`: without the date. Default `date-time`. */
  show?: 'date-time' | 'time';
  /** With the offset from UTC, so that it can be read back anywhere. Default true. */
  offset?: boolean;
}

/** `2026-11-20 03:12:00.123+01:00`, and `...Z` for `UTC`. Fractions are cut, not rounded. */
export function formatTime(us: number, timeZone: string, format: TimeFormat = {}): string {
  const { digits = 3, show = 'date-time', offset = true } = format;
  const ms = Math.floor(us / 1000);
  const offsetMs = zoneOffsetMs(ms, timeZone);
  const iso = new Date(ms + offsetMs).toISOString();
  const dateEnd = iso.indexOf('T');
  let text = iso.slice(dateEnd + 1, dateEnd + 9);
  if (show === 'date-time') text = `${iso.slice(0, dateEnd)} ${text}`;
  if (digits > 0) {
    const fraction = String(us - Math.floor(us / 1_000_000) * 1_000_000).padStart(6, '0');
    text += `.${fraction.slice(0, digits)}`;
  }
  return offset ? text + formatOffset(offsetMs, timeZone) : text;
}

/** What local clocks show minus UTC, at this instant (milliseconds since the Unix epoch). */
export function zoneOffsetMs(atMs: number, timeZone: string): number {
  if (timeZone === 'UTC') return 0;
  // Clocks change at full minutes: the lines of one minute of log share one look-up.
  const minute = Math.floor(atMs / MINUTE_MS);
  const cached = offsets.get(timeZone);
  if (cached?.minute === minute) return cached.offsetMs;
  const offsetMs = lookUpOffsetMs(minute * MINUTE_MS, timeZone);
  if (offsets.size >= OFFSETS_MAX) offsets.clear();
  offsets.set(timeZone, { minute, offsetMs });
  return offsetMs;
}

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const OFFSETS_MAX = 32;
const offsets = new Map<string, { minute: number; offsetMs: number }>();
const calendars = new Map<string, Intl.DateTimeFormat | null>();

function lookUpOffsetMs(atMs: number, timeZone: string): number {
  let calendar = calendars.get(timeZone);
  if (calendar === undefined) {
    if (calendars.size >= OFFSETS_MAX) calendars.clear();
    calendar = newCalendar(timeZone);
    calendars.set(timeZone, calendar);
  }
  if (calendar === null) return 0;
  const fields: Record<string, number> = {};
  for (const { type, value } of calendar.formatToParts(atMs)) fields[type] = Number(value);
  const { year, month, day, hour, minute, second } = fields as Record<string, number>;
  return Date.UTC(year!, month! - 1, day!, hour!, minute!, second!) - atMs;
}

function newCalendar(timeZone: string): Intl.DateTimeFormat | null {
  try {
    return new Intl.DateTimeFormat('en-US-u-ca-gregory-nu-latn', {
      timeZone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
  } catch {
    return null; // RangeError: no such zone
  }
}

function formatOffset(offsetMs: number, timeZone: string): string {
  if (timeZone === 'UTC') return 'Z';
  const minutes = Math.round(Math.abs(offsetMs) / MINUTE_MS);
  const hh = String(Math.floor(minutes / 60)).padStart(2, '0');
  return `${offsetMs < 0 ? '-' : '+'}${hh}:${String(minutes % 60).padStart(2, '0')}`;
}

const UNIT_US: Readonly<Record<string, number>> = {
  ms: 1_000,
  s: 1_000_000,
  m: 60_000_000,
  h: 3_600_000_000,
  d: 86_400_000_000,
  w: 604_800_000_000,
};

/** `10m`, `2h30m`: so long before now. null: not of that form. */
function agoUs(text: string, nowUs: number): number | null {
  if (!/^(\d{1,9}(ms|s|m|h|d|w))+$/.test(text)) return null;
  let ago = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|[smhdw])/g)) {
    ago += Number(count) * UNIT_US[unit!]!;
  }
  return nowUs - ago;
}

const WALL = new RegExp(
  '^(?:(\\d{4})-(\\d{1,2})-(\\d{1,2})|(today|yesterday)|(now))?' +
    '(?:(?:^|[t ] *)(\\d{1,2}):(\\d{2})(?::(\\d{2})(?:[.,](\\d{1,6})\\d*)?)?' +
    '(?: ?(z|utc|[+-]\\d{2}(?::?\\d{2})?))?)?$',
);

/** A date, a time of day, or both. null: not of that form, or no such day or hour. */
function wallUs(text: string, context: TimeContext): number | null {
  const match = WALL.exec(text);
  if (!match || text === '') return null;
  const [, year, month, day, relative, now, hour, minute, second, fraction, zone] = match;
  if (now !== undefined) return hour === undefined ? context.nowUs : null;
  if (Number(hour ?? 0) > 23 || Number(minute ?? 0) > 59 || Number(second ?? 0) > 59) return null;
  const timeUs =
    ((Number(hour ?? 0) * 60 + Number(minute ?? 0)) * 60 + Number(second ?? 0)) * 1_000_000 +
    Number((fraction ?? '').padEnd(6, '0'));

  if (year !== undefined) {
    const dayMs = Date.UTC(Number(year), Number(month) - 1, Number(day));
    const date = new Date(dayMs);
    const exists = date.getUTCMonth() === Number(month) - 1 && date.getUTCDate() === Number(day);
    return exists ? instantUs(dayMs, timeUs, zone, context) : null;
  }
  const nowMs = Math.floor(context.nowUs / 1000);
  const ahead = zone === undefined ? zoneOffsetMs(nowMs, context.timeZone) : zoneMs(zone);
  const today = Math.floor((nowMs + ahead) / DAY_MS) * DAY_MS;
  if (relative === 'yesterday') return instantUs(today - DAY_MS, timeUs, zone, context);
  const us = instantUs(today, timeUs, zone, context);
  if (relative === 'today' || us <= context.nowUs) return us;
  return instantUs(today - DAY_MS, timeUs, zone, context);
}

function instantUs(
  dayMs: number,
  timeUs: number,
  zone: string | undefined,
  context: TimeContext,
): number {
  const localMs = dayMs + Math.floor(timeUs / 1000);
  const ms = zone === undefined ? utcOfLocal(localMs, context.timeZone) : localMs - zoneMs(zone);
  return ms * 1000 + (timeUs % 1000);
}

function zoneMs(zone: string): number {
  const match = /^([+-])(\d{2}):?(\d{2})?$/.exec(zone);
  if (!match) return 0;
  const ms = (Number(match[2]) * 60 + Number(match[3] ?? 0)) * MINUTE_MS;
  return match[1] === '-' ? -ms : ms;
}

/** The instant at which local clocks show this, given as if it were UTC. */
function utcOfLocal(localMs: number, timeZone: string): number {
  const before = zoneOffsetMs(localMs - DAY_MS, timeZone);
  const after = zoneOffsetMs(localMs + DAY_MS, timeZone);
  for (const offsetMs of [before, after]) {
    if (zoneOffsetMs(localMs - offsetMs, timeZone) === offsetMs) return localMs - offsetMs;
  }
  return localMs - before;
}
