import type { Clock } from '../core/clock.ts';
import { Fault } from '../core/fault.ts';
import type { LogPort, LogReader } from '../core/log-reader.ts';
import { didYouMean, sameName } from '../core/names.ts';
import type { LogRecord } from '../core/record.ts';
import type { AuditRow } from '../core/store.ts';
import type { Authorizer, Caller, PortIdentity } from '../core/user.ts';
import type { LogSource } from './source.ts';

/** What the configuration adds to a port's name; a port no longer configured has neither. */
export interface PortDirectory {
  group(name: string): string | null;
  aliases(name: string): readonly string[];
}

export interface LogServiceOptions {
  clock: Clock;
  /** Hears that typed text was read: once a minute for a caller and port at most. */
  audit(row: AuditRow): void;
}

const AUDIT_INTERVAL_US = 60_000_000;
const AUDIT_ENTRIES_MAX = 10_000;

/**
 * The log with rights: every call needs `view` on its port; without `tx` the text of what was typed
 * stays hidden, though not that something was typed.
 */
export function createLogReader(
  source: LogSource,
  authorizer: Authorizer,
  directory: PortDirectory,
  options: LogServiceOptions,
): LogReader {
  const auditedUs = new Map<string, number>();

  function identify(name: string): PortIdentity {
    return { name, group: directory.group(name) };
  }

  /** @throws Fault PORT_UNKNOWN, DENIED. */
  function authorized(caller: Caller, uuid: string): PortIdentity {
    const name = source.nameOf(uuid);
    if (name === null) throw new Fault('PORT_UNKNOWN', `the log knows no port ${uuid}`);
    const identity = identify(name);
    authorizer.authorize(caller.user, 'view', identity);
    return identity;
  }

  function named(caller: Caller, all: readonly LogPort[], name: string): LogPort {
    const visible = all.filter((port) =>
      authorizer.allows(caller.user, 'view', identify(port.name)),
    );
    const exact =
      all.find((port) => port.uuid === name) ??
      all.find((port) => sameName(port.name, name)) ??
      all.find((port) => directory.aliases(port.name).some((alias) => sameName(alias, name)));
    if (exact) {
      authorizer.authorize(caller.user, 'view', identify(exact.name));
      return exact;
    }
    const prefix = name.toLowerCase();
    const begun = visible.filter((port) => port.name.toLowerCase().startsWith(prefix));
    if (begun.length === 1 && name !== '') return begun[0];
    const names = visible.map((port) => port.name);
    throw new Fault('PORT_UNKNOWN', `no port "${name}" in the log${didYouMean(name, names)}`);
  }

  function auditTx(caller: Caller, port: string): void {
    const nowUs = options.clock.nowUs();
    const key = `${caller.user}\n${caller.remote}\n${port}`;
    const before = auditedUs.get(key);
    if (before !== undefined && Math.abs(nowUs - before) < AUDIT_INTERVAL_US) return;
    if (auditedUs.size >= AUDIT_ENTRIES_MAX) auditedUs.clear();
    auditedUs.set(key, nowUs);
    const { user, remote, frontend } = caller;
    options.audit({ atUs: nowUs, user, remote, frontend, action: 'read tx', port, detail: '' });
  }

  return {
    async ports(caller, name) {
      const all = source.ports();
      const wanted =
        name !== undefined
          ? [named(caller, all, name)]
          : all.filter((port) => authorizer.allows(caller.user, 'view', identify(port.name)));
      return wanted.map((port) =>
        authorizer.allows(caller.user, 'tx', identify(port.name))
          ? port
          : { ...port, withholdsTx: true },
      );
    },
    async locate(caller, uuid, place) {
      authorized(caller, uuid);
      return source.locate(uuid, place);
    },
    async read(caller, uuid, from, bytesMax) {
      const port = authorized(caller, uuid);
      let batch = source.read(uuid, from, bytesMax);
      if (authorizer.allows(caller.user, 'tx', port)) {
        if (batch.records.some(hasTypedText)) auditTx(caller, port.name);
        return batch;
      }
      let records = batch.records.flatMap(withoutTypedText);
      while (records.length === 0 && !batch.atEnd) {
        batch = source.read(uuid, batch.next, bytesMax);
        records = batch.records.flatMap(withoutTypedText);
      }
      return { ...batch, records };
    },
    async changed(caller, uuid, from, timeoutMs) {
      authorized(caller, uuid);
      return source.changed(uuid, from, timeoutMs);
    },
  };
}

function hasTypedText(record: LogRecord): boolean {
  return (record.kind === 'tx' || record.kind === 'tx-text') && record.bytes.length > 0;
}

function withoutTypedText(record: LogRecord): LogRecord[] {
  if (record.kind === 'tx-text') return [];
  return [record.kind === 'tx' ? { ...record, bytes: new Uint8Array() } : record];
}
