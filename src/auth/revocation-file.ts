import type { Clock, Journal } from '../core/clock.ts';
import type { Certificate } from './certificate.ts';
import { parseRevocations, type Revocations } from './revocation.ts';

/**
 * Reads a small file unless it is the version known already; null: it is. A version is any text that
 * differs when the file does.
 * @throws Error with a reason when the file cannot be read or has more than `bytesMax` bytes.
 */
export type ReadIfChanged = (
  path: string,
  knownVersion: string | null,
  bytesMax: number,
) => { version: string; bytes: Uint8Array } | null;

export interface RevocationFileDeps {
  readIfChanged: ReadIfChanged;
  clock: Clock;
  journal: Journal;
}

export const REVOCATION_FILE_BYTES_MAX = 4 * 1_048_576;
/** The file is looked at this often at most, however many log in. */
const LOOK_INTERVAL_US = 1_000_000;

/**
 * A revocation list on disk, read anew when it changes. While it cannot be read every certificate is
 * void: whoever can damage the list must not bring back what it revoked.
 */
export class RevocationFile {
  readonly path: string;
  readonly #deps: RevocationFileDeps;
  #version: string | null = null;
  #list: Revocations = { revokes: () => NEVER_READ };
  #lookedAtUs: number | null = null;
  /** What was journalled last, so that it is said once. */
  #said: string | null = null;

  constructor(path: string, deps: RevocationFileDeps) {
    this.path = path;
    this.#deps = deps;
  }

  /** Why the certificate is void; null: it is not. */
  revokes(certificate: Certificate): string | null {
    this.#look();
    return this.#list.revokes(certificate);
  }

  #look(): void {
    const nowUs = this.#deps.clock.nowUs();
    const sinceUs = this.#lookedAtUs === null ? null : nowUs - this.#lookedAtUs;
    // A clock that stepped back would put the next look off for as long as the step was.
    if (sinceUs !== null && sinceUs >= 0 && sinceUs < LOOK_INTERVAL_US) return;
    this.#lookedAtUs = nowUs;
    const { readIfChanged, journal } = this.#deps;
    let changed: ReturnType<ReadIfChanged>;
    try {
      changed = readIfChanged(this.path, this.#version, REVOCATION_FILE_BYTES_MAX);
    } catch (error) {
      this.#version = null; // it may come back as it was
      return this.#failed(error);
    }
    if (changed === null) return;
    this.#version = changed.version;
    try {
      this.#list = parseRevocations(changed.bytes);
    } catch (error) {
      return this.#failed(error);
    }
    this.#said = null;
    journal.info({ path: this.path }, 'revocation list read');
  }

  #failed(error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    this.#list = { revokes: () => `the revocation list ${this.path} cannot be used: ${why}` };
    if (why === this.#said) return;
    this.#said = why;
    this.#deps.journal.error(
      { path: this.path, why },
      'revocation list cannot be used, so no certificate is taken',
    );
  }
}

const NEVER_READ = 'the revocation list was not read yet';
