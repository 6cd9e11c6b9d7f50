import { notice, notices } from './notices.ts';

/** Notices that may be under way; more are left out. */
const NOTICE_BYTES_MAX = 8_192;

/**
 * Tells a person what Fairlead has to say, in lines of its own among the output. Bounded: who does
 * not even take what they were told before is told how much they missed.
 */
export class Teller {
  readonly #write: (bytes: Uint8Array, done: () => void) => void;
  readonly #untold: (text: string) => void;
  #isOn: boolean;
  #bytes = 0;
  #leftOut = 0;

  /** `untold` gets what must be told when there is nobody to tell it to. */
  constructor(
    write: (bytes: Uint8Array, done: () => void) => void,
    untold: (text: string) => void,
    isOn: boolean,
  ) {
    this.#write = write;
    this.#untold = untold;
    this.#isOn = isOn;
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  /** Nothing is told from now on. */
  stop(): void {
    this.#isOn = false;
  }

  tell(text: string): void {
    if (this.#bytes > NOTICE_BYTES_MAX) this.leaveOut();
    else if (this.#isOn) this.must(text);
  }

  /** What the stream itself misses: bounded by the credit that must return in between. */
  must(text: string): void {
    if (!this.#isOn) return this.#untold(text);
    const leftOut = this.#leftOut;
    this.#leftOut = 0;
    if (leftOut > 0) this.#send(notice(`${leftOut} notices were left out`));
    this.#send(notice(text));
  }

  lines(texts: readonly string[]): void {
    if (texts.length > 0) this.print(notices(texts));
  }

  /** Bytes as they are: a prompt and its echo. */
  print(bytes: Uint8Array): void {
    if (this.#bytes > NOTICE_BYTES_MAX) this.leaveOut();
    else this.#send(bytes);
  }

  leaveOut(): void {
    this.#leftOut++;
  }

  #send(bytes: Uint8Array): void {
    if (!this.#isOn) return;
    this.#bytes += bytes.length;
    this.#write(bytes, () => (this.#bytes -= bytes.length));
  }
}
