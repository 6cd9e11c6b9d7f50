import type { LogBatch, LogCursor, LogPlace, LogPort } from '../core/log-reader.ts';

/**
 * The committed log without a question of rights: what log/service.ts wraps. Reads are short and
 * synchronous; each opens and ends its own view, so nothing holds the writer up.
 */
export interface LogSource {
  /** Every port the log knows, by name. */
  ports(): LogPort[];
  /** The name of one port; null when the log does not know it. */
  nameOf(uuid: string): string | null;
  /**
   * `start`, `end`, `time` and the `last` places always have an answer, if only the end.
   * @throws Fault PORT_UNKNOWN; LOG_NOT_FOUND when the log holds no such offset or boot;
   * LOG_DAMAGED.
   */
  locate(uuid: string, place: LogPlace): LogCursor;
  /** @throws Fault PORT_UNKNOWN, LOG_DAMAGED. */
  read(uuid: string, from: LogCursor, bytesMax: number): LogBatch;
  /** Resolves true when something is committed at or after `from`, false after `timeoutMs`. */
  changed(uuid: string, from: LogCursor, timeoutMs: number): Promise<boolean>;
  close(): void;
}
