import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import type { Readable } from 'node:stream';
import { compileC } from '../support/compile-c.ts';

/** 115,200 baud 8N1 in bytes a second. */
export const LINE_RATE = 11_520;

export interface Fed {
  seconds: number;
  /** How far the slowest port ever was behind its rate: above some 100, the device would have had to wait. */
  behindBytesMax: number;
  /** Writes of which the tty did not take all. */
  refusals: number;
  /** Bytes the kernel took, port by port, since the start. */
  sent: number[];
}

export interface Verdict {
  bytes: number;
  expected: number | null;
  /** Where the bytes first differ from the stream; null: nowhere. */
  differsAt: number | null;
}

/** A rack of ptys fed by a process of its own (feeder.c). The stream is a function of (port, offset). */
export class Feeder {
  /** Paths of the slave sides, to be given to whoever logs them. */
  readonly paths: readonly string[];
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;

  private constructor(
    child: ChildProcess,
    reader: Interface,
    lines: AsyncIterator<string>,
    paths: string[],
  ) {
    this.#child = child;
    this.#reader = reader;
    this.#lines = lines;
    this.paths = paths;
  }

  static async start(ports: number): Promise<Feeder> {
    const child = spawn(feederProgram(), ['feed', String(ports)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const reader = createInterface({ input: child.stdout });
    const lines = reader[Symbol.asyncIterator]();
    const { ptys } = await nextJson<{ ptys: string[] }>(lines);
    return new Feeder(child, reader, lines, ptys);
  }

  /** The feeder's own process, to be left out of what is measured. */
  get pid(): number {
    return this.#child.pid!;
  }

  /**
   * Feeds every port `rate` bytes a second (0: as fast as the tty takes them) for `seconds`, or
   * until each had `bytes` more; without either until `stop`.
   */
  run(limit: { rate: number; seconds?: number; bytes?: number }): Promise<Fed> {
    return this.#ask<Fed>(`run ${limit.rate} ${limit.seconds ?? 0} ${limit.bytes ?? 0}`);
  }

  /** Ends the run under way: its promise resolves. */
  stop(): void {
    this.#child.stdin!.write('stop\n');
  }

  /** Takes out what nobody read, and counts it: with the reader gone, logged = sent - unread. */
  drain(): Promise<{ unread: number[]; sent: number[] }> {
    return this.#ask('drain');
  }

  /** Ends the feeder: the ptys hang up. */
  async close(): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.stdin!.end();
    await exited;
    this.#reader.close();
  }

  #ask<T>(command: string): Promise<T> {
    this.#child.stdin!.write(`${command}\n`);
    return nextJson<T>(this.#lines);
  }
}

/**
 * Compares bytes with a port's stream, from its start, or with parts of it one after the other
 * (`[from, to]`; without `to`: whatever comes).
 */
export async function verifyStream(
  port: number,
  bytes: Readable,
  parts: readonly (readonly [from: number, to?: number])[] = [[0]],
): Promise<Verdict> {
  const child = spawn(
    feederProgram(),
    ['verify', String(port), ...parts.map(([from, to]) => `${from}:${to ?? ''}`)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  const closed = once(child, 'close');
  await pipeline(bytes, child.stdin);
  await closed;
  return JSON.parse(Buffer.concat(output).toString()) as Verdict;
}

/** That part of a port's stream. */
export function printStream(port: number, from: number, to: number): Buffer {
  const args = ['print', String(port), String(from), String(to)];
  return execFileSync(feederProgram(), args, { maxBuffer: to - from + 1 });
}

export function feederProgram(): string {
  return compileC('test/bench/feeder.c');
}

async function nextJson<T>(lines: AsyncIterator<string>): Promise<T> {
  const line = await lines.next();
  if (line.done) throw new Error('the feeder ended');
  return JSON.parse(line.value) as T;
}
