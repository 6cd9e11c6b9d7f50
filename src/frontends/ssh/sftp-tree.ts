import { posix } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { Fault } from '../../core/fault.ts';
import type { LogEpoch, LogPort, LogReader } from '../../core/log-reader.ts';
import { isPortName, sameName } from '../../core/names.ts';
import type { LogRecord } from '../../core/record.ts';
import type { Caller } from '../../core/user.ts';
import { SftpFile } from './sftp-file.ts';
import type { SftpAttributes, SftpName, SftpPath } from './sftp-packets.ts';

export type SftpNode =
  | { kind: 'root' | 'incidents' }
  | { kind: 'port'; port: LogPort }
  | { kind: 'day'; port: LogPort; dayUs: number; format: 'text' | 'raw'; bytes: number }
  | { kind: 'live'; port: LogPort; dayUs: number; bytes: number };

/** A name that no file of ours can have, whatever there is: not so of one that is merely not there. */
export class BadName extends Fault {
  constructor(message: string) {
    super('NOT_FOUND', message);
  }
}

/**
 * The log as a read-only tree: `/PORT/2026-11-20.log` what the port said that UTC day, as
 * `fairlead log --format text` shows it, `.raw` the same day's bytes, `/PORT/live.log` the day so
 * far, growing, and `/incidents`, empty. `LogReader` says who may see which port.
 */
export class SftpTree {
  readonly #log: LogReader;
  readonly #caller: Caller;
  readonly #clock: Clock;
  /** Files read to find their size, by port, day and format: what comes is added by reading on. */
  readonly #measured = new Map<string, SftpFile>();

  constructor(log: LogReader, caller: Caller, clock: Clock) {
    this.#log = log;
    this.#caller = caller;
    this.#clock = clock;
  }

  /** @throws Fault NOT_FOUND, PORT_UNKNOWN, DENIED; BadName. */
  async find(path: SftpPath): Promise<SftpNode> {
    const [portName, fileName, ...more] = canonical(path).split('/').slice(1);
    if (portName === undefined || portName === '') return { kind: 'root' };
    if (portName === INCIDENTS && fileName === undefined) return { kind: 'incidents' };
    const port = isPortName(portName) && more.length === 0 ? await this.#port(portName) : null;
    const node =
      port && (fileName === undefined ? portNode(port) : await this.#file(port, fileName));
    if (node === null) throw new Fault('NOT_FOUND', 'there is no such file');
    return node;
  }

  /** As a canonical path, with the port's name as it is spelled. @throws BadName. */
  async realPath(path: SftpPath): Promise<string> {
    const [portName = '', ...rest] = canonical(path).split('/').slice(1);
    const port = isPortName(portName) ? await this.#port(portName).catch(() => null) : null;
    return `/${[port?.name ?? portName, ...rest].join('/')}`;
  }

  /** @throws Fault NOT_FOUND for a directory. */
  async open(node: SftpNode, signal: AbortSignal): Promise<SftpFile> {
    if (node.kind !== 'day' && node.kind !== 'live') {
      throw new Fault('NOT_FOUND', 'it is a directory');
    }
    const { port, dayUs } = node;
    return SftpFile.open(this.#log, this.#caller, port.uuid, {
      fromUs: dayUs,
      untilUs: node.kind === 'live' ? null : dayUs + DAY_US,
      format: node.kind === 'live' ? 'text' : node.format,
      signal,
    });
  }

  /**
   * With the exact size, found by reading, where that is not too much; else of `.raw` the size of
   * the day with what is missing of it, and of text none.
   */
  async attributes(node: SftpNode, signal: AbortSignal): Promise<SftpAttributes> {
    const known = attributesOf(node);
    if (node.kind !== 'day' && node.kind !== 'live') return known;
    if (node.bytes > MEASURED_BYTES_MAX) return known;
    return { ...known, sizeBytes: (await this.#measure(node, signal)) ?? known.sizeBytes };
  }

  /** What a directory holds, some at a time. @throws Fault NOT_FOUND for a file. */
  async *list(node: SftpNode): AsyncGenerator<SftpName[], void> {
    if (node.kind === 'incidents') return;
    if (node.kind === 'root') yield* this.#listRoot();
    else if (node.kind === 'port') yield* this.#listPort(node.port);
    else throw new Fault('NOT_FOUND', 'it is no directory');
  }

  async *#listRoot(): AsyncGenerator<SftpName[], void> {
    const ports = await this.#log.ports(this.#caller);
    yield [nameOf(INCIDENTS, { kind: 'incidents' })];
    for (let at = 0; at < ports.length; at += NAMES_MAX) {
      yield ports.slice(at, at + NAMES_MAX).map((port) => nameOf(port.name, portNode(port)));
    }
  }

  async *#listPort(port: LogPort): AsyncGenerator<SftpName[], void> {
    yield [nameOf(LIVE, await this.#live(port))];
    let first = await this.#firstSince(port, 0);
    while (first !== null) {
      const names: SftpName[] = [];
      while (first !== null && names.length < NAMES_MAX) {
        const dayUs = dayOf(first.atUs);
        // The next day with a record, so that years of silence cost nothing.
        const next: LogRecord | null = await this.#firstSince(port, dayUs + DAY_US);
        const bytes = bytesBetween(port.epochs, first, next);
        for (const format of ['text', 'raw'] as const) {
          const node: SftpNode = { kind: 'day', port, dayUs, format, bytes };
          names.push(nameOf(`${dayName(dayUs)}.${EXTENSIONS[format]}`, node));
        }
        first = next;
      }
      yield names;
    }
  }

  /** null: no such port, or that is only its alias or the beginning of its name. */
  async #port(name: string): Promise<LogPort | null> {
    const [port] = await this.#log.ports(this.#caller, name);
    return port !== undefined && sameName(port.name, name) ? port : null;
  }

  async #file(port: LogPort, name: string): Promise<SftpNode | null> {
    if (name === LIVE) return this.#live(port);
    const match = /^(\d{4}-\d\d-\d\d)\.(log|raw)$/.exec(name);
    const dayUs = Date.parse(`${match?.[1] ?? ''}T00:00:00Z`) * 1000;
    if (match === null || Number.isNaN(dayUs) || dayName(dayUs) !== match[1]) return null;
    const first = await this.#firstSince(port, dayUs);
    if (first === null || first.atUs >= dayUs + DAY_US) return null;
    const next = await this.#firstSince(port, dayUs + DAY_US);
    const bytes = bytesBetween(port.epochs, first, next);
    return { kind: 'day', port, dayUs, format: match[2] === 'raw' ? 'raw' : 'text', bytes };
  }

  async #live(port: LogPort): Promise<SftpNode> {
    const dayUs = dayOf(this.#clock.nowUs());
    const first = await this.#firstSince(port, dayUs);
    const bytes = first === null ? 0 : bytesBetween(port.epochs, first, null);
    return { kind: 'live', port, dayUs, bytes };
  }

  /** The first record at or after this time; null: none. */
  async #firstSince(port: LogPort, us: number): Promise<LogRecord | null> {
    const cursor = await this.#log.locate(this.#caller, port.uuid, { at: 'time', us });
    const { records } = await this.#log.read(this.#caller, port.uuid, cursor, 1);
    return records[0] ?? null;
  }

  async #measure(
    node: SftpNode & { kind: 'day' | 'live' },
    signal: AbortSignal,
  ): Promise<number | null> {
    const format = node.kind === 'day' ? node.format : 'live';
    const key = `${node.port.uuid} ${node.dayUs} ${format}`;
    try {
      const file = this.#measured.get(key) ?? (await this.open(node, signal));
      this.#measured.delete(key); // and set again: the order is by last use
      const size = await file.size();
      this.#measured.set(key, file);
      if (this.#measured.size > MEASURED_MAX) {
        this.#measured.delete(this.#measured.keys().next().value!);
      }
      return size;
    } catch (error) {
      if (error instanceof Fault) return null; // reading the file will say what is wrong
      throw error;
    }
  }
}

const INCIDENTS = 'incidents';
const LIVE = 'live.log';
const EXTENSIONS = { text: 'log', raw: 'raw' } as const;
const DAY_US = 86_400_000_000;
/** Names in one answer. */
const NAMES_MAX = 64;
/** rx bytes of a file that is read to find its size: a fraction of a second. */
const MEASURED_BYTES_MAX = 16 * 1024 * 1024;
const MEASURED_MAX = 16;

const DIRECTORY_MODE = 0o040555;
const FILE_MODE = 0o100444;

/** @throws BadName. */
function canonical(path: SftpPath): string {
  if (path === null) throw new BadName('the name is too long');
  for (let i = 0; i < path.length; i++) {
    const code = path.charCodeAt(i);
    if (code < 0x20 || code === 0x7f) throw new BadName('the name has a control character');
  }
  return posix.resolve('/', path);
}

function portNode(port: LogPort): SftpNode {
  return { kind: 'port', port };
}

function dayOf(us: number): number {
  return Math.floor(us / DAY_US) * DAY_US;
}

function dayName(dayUs: number): string {
  return new Date(dayUs / 1000).toISOString().slice(0, 10);
}

/** rx bytes read from one record up to another (null: to the end), those in gaps included. */
function bytesBetween(
  epochs: readonly LogEpoch[],
  first: LogRecord,
  next: LogRecord | null,
): number {
  let bytes = 0;
  for (const { epoch, firstOffset, endOffset } of epochs) {
    if (epoch < first.epoch || (next !== null && epoch > next.epoch)) continue;
    const from = epoch === first.epoch ? first.offset : firstOffset;
    const to = epoch === next?.epoch ? next.offset : endOffset;
    bytes += Math.max(0, to - from);
  }
  return bytes;
}

function attributesOf(node: SftpNode): SftpAttributes {
  if (node.kind !== 'day' && node.kind !== 'live') {
    const lastUs = node.kind === 'port' ? lastUsOf(node.port, Number.POSITIVE_INFINITY) : 0;
    return { sizeBytes: 0, mode: DIRECTORY_MODE, modifiedS: seconds(lastUs) };
  }
  const { port, dayUs, kind } = node;
  const lastUs = lastUsOf(port, kind === 'day' ? dayUs + DAY_US - 1 : Number.POSITIVE_INFINITY);
  const isRaw = kind === 'day' && node.format === 'raw';
  return {
    sizeBytes: isRaw ? node.bytes : null,
    mode: FILE_MODE,
    modifiedS: seconds(Math.max(dayUs, lastUs)),
  };
}

/** When the port said something last; at most `untilUs`, if it went on after that. */
function lastUsOf(port: LogPort, untilUs: number): number {
  let us = 0;
  for (const { firstUs, lastUs } of port.epochs) {
    if (firstUs <= untilUs) us = Math.max(us, Math.min(lastUs, untilUs));
  }
  return us;
}

/** Fits the protocol's 32 bits. */
function seconds(us: number): number {
  return Math.min(0xffffffff, Math.max(0, Math.floor(us / 1_000_000)));
}

function nameOf(name: string, node: SftpNode): SftpName {
  const attributes = attributesOf(node);
  const { sizeBytes, mode, modifiedS } = attributes;
  const type = mode === DIRECTORY_MODE ? 'dr-xr-xr-x' : '-r--r--r--';
  const [, day, month, year, time] = new Date(modifiedS * 1000).toUTCString().split(' ');
  const size = String(sizeBytes ?? '?').padStart(12);
  const longName = `${type}    1 fairlead fairlead ${size} ${month} ${day} ${year} ${time!.slice(0, 5)} ${name}`;
  return { name, longName, attributes };
}
