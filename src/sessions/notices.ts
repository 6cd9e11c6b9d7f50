import type { Attached, SessionEvent } from '../core/attach.ts';

/** A line of Fairlead's own among a device's output. */
export function notice(text: string): Uint8Array {
  return encoder.encode(`\r\n[fairlead: ${plain(text)}]\r\n`);
}

/** Several lines in one. */
export function notices(texts: readonly string[]): Uint8Array {
  return encoder.encode(`\r\n${texts.map((text) => `[fairlead: ${plain(text)}]\r\n`).join('')}`);
}

/** What a session is told first. */
export function greeting(attached: Attached, wantedWrite: boolean, hasKeys: boolean): string {
  const { port, mode, writer, state, why, lastUsedBy } = attached;
  const parts = [`${port}: you ${mode}`];
  if (mode === 'view' && writer !== null) {
    parts.push(`${writer} writes`);
    if (wantedWrite) parts.push('you get write when they leave');
  }
  if (state === 'down') parts.push(`the port is down: ${why ?? 'cause unknown'}`);
  if (state === 'opening') parts.push('the port is being opened');
  if (lastUsedBy) parts.push(`last used by ${lastUsedBy.user} ${localMinute(lastUsedBy.atUs)}`);
  if (hasKeys) parts.push('^Ec? for help');
  return parts.join('; ');
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

export function skippedNotice(from: number, to: number): string {
  return `skipped ${to - from} bytes (${from}..${to}), the log has them`;
}

/** Without anything a terminal would act on: what users and devices say is hostile (DESIGN 11). */
export function plain(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]+/gu, ' ')
    .slice(0, NOTICE_CHARS_MAX)
    .trim();
}

const NOTICE_CHARS_MAX = 1_000;
const encoder = new TextEncoder();

/** `2026-11-20 03:12` in the server's zone. */
function localMinute(atUs: number): string {
  const at = new Date(atUs / 1_000);
  const two = (number: number): string => String(number).padStart(2, '0');
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}`;
}
