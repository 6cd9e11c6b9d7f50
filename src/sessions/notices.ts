import type { Attached, SessionEvent } from '../core/attach.ts';
import { formatLineSettings } from '../core/line-settings.ts';
import type { LineState } from '../core/line-settings.ts';
import type { PortStatus, SessionStatus } from '../core/port-status.ts';

/** A line of Fairlead's own among a device's output. */
export function notice(text: string): Uint8Array {
  return notices([text]);
}

/** Several lines in one. */
export function notices(texts: readonly string[]): Uint8Array {
  return encoder.encode(`\r\n${texts.map((text) => `[fairlead: ${plain(text)}]\r\n`).join('')}`);
}

/**
 * What a session is told first: one line, and those of the message of the day. `helpKey` null: keys
 * are off.
 */
export function greeting(
  attached: Attached,
  wantedWrite: boolean,
  helpKey: string | null,
  nowUs: number,
): string[] {
  const { port, mode, writer, state, why, lastUsedBy, motd } = attached;
  const parts = [`${port}: you ${mode}`];
  if (mode === 'view' && writer !== null) {
    parts.push(`${writer} writes`);
    if (wantedWrite) parts.push('you get write when they leave');
  }
  if (state === 'down') parts.push(`the port is down: ${why ?? 'cause unknown'}`);
  if (state === 'opening') parts.push('the port is being opened');
  if (lastUsedBy) {
    const agoMs = (nowUs - lastUsedBy.atUs) / 1_000;
    parts.push(`last used by ${lastUsedBy.user}, ${ago(agoMs)}`);
  }
  if (helpKey !== null) parts.push(`${helpKey} for help`);
  return [parts.join('; '), ...motdLines(motd)];
}

/** The lines of a message of the day; none when there is none. */
export function motdLines(motd: string | null): string[] {
  const lines = (motd ?? '').trimEnd().split(/\r\n|\r|\n/);
  return lines.length === 1 && lines[0] === '' ? [] : lines.slice(0, MOTD_LINES_MAX);
}

/** Who writes now, as this session is to hear it; null: nothing new to it. */
export function writerNotice(
  event: Extract<SessionEvent, { kind: 'writer' }>,
  wroteBefore: boolean,
): string | null {
  const { writer, you, by } = event;
  if (you) return wroteBefore ? null : 'you write now';
  if (wroteBefore) return by === null ? 'you view now' : `taken over by ${by}; you view now`;
  if (writer === null) return 'nobody writes now';
  return by === null ? `${writer} writes now` : `${by} took over and writes now`;
}

/** `bob set the line to 9600 8N1` */
export function lineNotice({ line, flow, by }: Extract<SessionEvent, { kind: 'line' }>): string {
  const settings = `${formatLineSettings(line)}${flow === 'none' ? '' : `, flow control ${flow}`}`;
  return by === null ? `the line is back at ${settings}` : `${by} set the line to ${settings}`;
}

export function skippedNotice(from: number, to: number): string {
  return `skipped ${to - from} bytes (${from}..${to}), the log has them`;
}

/** `session 3: alice writes, from 192.0.2.7:51234 by ssh (you)` */
export function describeSession(session: SessionStatus, own: number): string {
  const { user, remote, frontend, mode } = session;
  const you = session.session === own ? ' (you)' : '';
  const does = mode === 'write' ? 'writes' : 'views';
  return `session ${session.session}: ${user} ${does}, from ${remote} by ${frontend}${you}`;
}

/** `db1 up, alice writes, 2 view` */
export function describePort({ name, state, writer, viewers }: PortStatus): string {
  const who = [
    writer === null ? '' : `, ${writer} writes`,
    viewers === 0 ? '' : `, ${viewers} view`,
  ];
  return `${name} ${state}${who.join('')}`;
}

/** Lines for `^Ecx`. */
export function describeLine({ line, flow, signals, isBreaking }: LineState): string[] {
  const states = Object.entries(signals).map(([name, isOn]) => `${name} ${isOn ? 'on' : 'off'}`);
  return [
    `line: ${line === null ? 'no UART' : formatLineSettings(line)}, flow control ${flow}`,
    `signals: ${states.length === 0 ? 'unknown' : states.join(', ')}`,
    ...(isBreaking ? ['the line is held in BREAK'] : []),
  ];
}

/** `3 hours ago`; the clock may have stepped back meanwhile. */
export function ago(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return 'just now';
  const [count, unit] =
    minutes < 60
      ? [minutes, 'minute']
      : minutes < 48 * 60
        ? [Math.floor(minutes / 60), 'hour']
        : [Math.floor(minutes / 60 / 24), 'day'];
  return `${count} ${unit}${count === 1 ? '' : 's'} ago`;
}

/** `30 min`; of a time that somebody configured, so mostly a round one. */
export function duration(ms: number): string {
  if (ms % 3_600_000 === 0) return `${ms / 3_600_000} h`;
  if (ms % 60_000 === 0) return `${ms / 60_000} min`;
  return `${ms / 1_000} s`;
}

/** Without anything a terminal would act on: what users and devices say is hostile (DESIGN 11). */
export function plain(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]+/gu, ' ')
    .slice(0, NOTICE_CHARS_MAX)
    .trim();
}

const NOTICE_CHARS_MAX = 1_000;
const MOTD_LINES_MAX = 50;
const encoder = new TextEncoder();
