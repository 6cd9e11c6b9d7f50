/** Wall time in microseconds since the Unix epoch. May step back; order is seq, never time. */
export interface Clock {
  nowUs(): number;
}

/**
 * The daemon's own journal (pino behind it). The message is a constant phrase, facts are fields.
 * Console bytes and secrets never.
 */
export interface Journal {
  fatal(fields: object, message: string): void;
  error(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  info(fields: object, message: string): void;
  debug(fields: object, message: string): void;
  child(fields: object): Journal;
}
