/** What a row is given. */
export interface Bench {
  /** Shorter runs, for a look; the budgets ask for the long ones. */
  readonly quick: boolean;
  /** conserver and ser2net beside us, where installed. */
  readonly peers: boolean;
  /** An empty directory of this row's own. */
  readonly directory: string;
  /** Tells whoever waits what is going on. */
  say(text: string): void;
}

/** A line of the table. */
export interface Measurement {
  what: string;
  budget: string;
  result: string;
  /** The C logger's figure in the same run and our multiple of it; empty where it has none. */
  floor: string;
  /** null: a comparison, not held to a budget. */
  isMet: boolean | null;
}

export interface Row {
  readonly name: string;
  readonly what: string;
  measure(bench: Bench): Promise<Measurement[]>;
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/** `0.021 (x 2.9)`: the floor's figure, and how many times that ours is. */
export function besideFloor(ours: number, floor: number, digits: number): string {
  return `${floor.toFixed(digits)} (x ${(ours / floor).toFixed(1)})`;
}

/** The value below which `share` of them lie. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}
