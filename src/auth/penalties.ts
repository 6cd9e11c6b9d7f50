import { formatIpAddress, masked, parseIpAddress } from './cidr.ts';

/** What a source can be penalised for; names and times are those of PerSourcePenalties in sshd_config(5). */
export const PENALTY_MS = {
  /** A login was tried and failed. */
  authfail: 5_000,
  /** Left without trying to log in. */
  noauth: 1_000,
  /** Did not log in within the grace time. */
  'grace-exceeded': 10_000,
  /** Broke the protocol or crashed its connection's handler. */
  crash: 90_000,
} as const;
export type Offence = keyof typeof PENALTY_MS;

/** Less than this is not enforced: a typo or two costs nothing. */
export const PENALTY_MIN_MS = 15_000;
export const PENALTY_MAX_MS = 600_000;
export const PENALTY_SOURCES_MAX = 65_536;
/** One customer usually holds a /64, so addresses inside it are one source. */
const IPV6_PREFIX_BITS = 64;

export interface Penalties {
  /** Adds the offence's time to what the source still has to wait, up to 600 s. */
  penalise(address: string, offence: Offence, nowMs: number): void;
  /** How long the source is still refused; 0: welcome. */
  refusedForMs(address: string, nowMs: number): number;
  /** How many sources are remembered. */
  readonly sources: number;
}

/**
 * Penalties of sources that misbehave before login. Pure: the time is an argument (milliseconds of
 * any clock that does not step back). Memory is bounded: of more than 65,536 sources the one that
 * was longest without an offence is forgotten.
 */
export function createPenalties(sourcesMax = PENALTY_SOURCES_MAX): Penalties {
  /** Oldest offence first. */
  const bySource = new Map<string, { untilMs: number; isEnforced: boolean }>();
  return {
    penalise(address, offence, nowMs) {
      const source = sourceOf(address);
      const known = bySource.get(source);
      const isRunning = known !== undefined && known.untilMs > nowMs;
      const fromMs = isRunning ? known.untilMs : nowMs;
      const untilMs = Math.min(fromMs + PENALTY_MS[offence], nowMs + PENALTY_MAX_MS);
      const isEnforced = (isRunning && known.isEnforced) || untilMs - nowMs >= PENALTY_MIN_MS;
      bySource.delete(source);
      bySource.set(source, { untilMs, isEnforced });
      if (bySource.size > sourcesMax) bySource.delete(bySource.keys().next().value!);
    },
    refusedForMs(address, nowMs) {
      const source = sourceOf(address);
      const penalty = bySource.get(source);
      if (!penalty) return 0;
      if (penalty.untilMs <= nowMs) {
        bySource.delete(source);
        return 0;
      }
      return penalty.isEnforced ? penalty.untilMs - nowMs : 0;
    },
    get sources() {
      return bySource.size;
    },
  };
}

/** What counts as one source: an IPv4 address, or an IPv6 /64. */
export function sourceOf(address: string): string {
  const parsed = parseIpAddress(address);
  if (!parsed) return address;
  if (parsed.family === 4) return formatIpAddress(parsed.bytes);
  return formatIpAddress(masked(parsed.bytes, IPV6_PREFIX_BITS));
}
