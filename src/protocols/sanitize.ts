/**
 * Makes what a device printed safe to show (DESIGN 11). Total and bounded: every byte sequence, in
 * any chunking, comes out the same, as valid UTF-8 that makes no terminal answer.
 *
 * `terminal`: keeps text, colour, cursor moves, erasing, scrolling and the alternate screen, so that
 * a replay ends on the screen the device drew. `text`: for files and pipes: text, LF and TAB; CRs
 * before a LF or at the start of a line vanish, any other run of CRs (a redraw in place) is one CR.
 *
 * Both drop control strings (OSC, DCS, SOS, PM, APC), questions (ENQ, DA, DSR, DECRQM, XTVERSION,
 * ...), window operations, mouse, focus and paste modes, whatever changes the keyboard or the
 * character set, and all C1 controls, also those coded in UTF-8. A control string ends at its
 * terminator, at a LF, or after `SEQUENCE_BYTES_MAX`, so that an unfinished one hides nothing for
 * long. What is not UTF-8 becomes U+FFFD. Sequences are those of ECMA-48 and xterm's ctlseqs.
 */
export function sanitize(
  start: SanitizerState,
  input: Uint8Array,
): { state: SanitizerState; bytes: Uint8Array } {
  const machine = new Machine(start, input.length);
  machine.run(input);
  return { state: machine.state(), bytes: machine.output() };
}

export type SanitizerMode = 'terminal' | 'text';

/** Between two chunks. Plain data; take it as it is. */
export interface SanitizerState {
  readonly mode: SanitizerMode;
  readonly at: 'ground' | 'escape' | 'csi' | 'csi-ignored' | 'string';
  /** Intermediates of an escape sequence; parameters and intermediates of a control sequence. */
  readonly collected: string;
  /** Bytes of the sequence so far. */
  readonly sequenceBytes: number;
  /** The beginning of a UTF-8 character. */
  readonly partial: readonly number[];
  /** Text mode: CRs were seen that are not written yet. */
  readonly heldCr: boolean;
  /** Text mode: nothing was written since the last LF. */
  readonly lineIsEmpty: boolean;
}

export function startSanitizer(mode: SanitizerMode): SanitizerState {
  return {
    mode,
    at: 'ground',
    collected: '',
    sequenceBytes: 0,
    partial: [],
    heldCr: false,
    lineIsEmpty: true,
  };
}

/** One piece of text on its own, as `text`: a message, a reason, a cell of a table. */
export function sanitizeText(text: string): string {
  const { bytes } = sanitize(startSanitizer('text'), new TextEncoder().encode(text));
  return new TextDecoder().decode(bytes);
}

/** Longest sequence that is swallowed; after it, what follows is text again. */
export const SEQUENCE_BYTES_MAX = 4096;
/** Longest control sequence that is passed on. */
const CSI_BYTES_MAX = 128;

const REPLACEMENT = [0xef, 0xbf, 0xbd];

class Machine {
  readonly #isText: boolean;
  #at: SanitizerState['at'];
  #collected: string;
  #sequenceBytes: number;
  #partial: number[];
  #heldCr: boolean;
  #lineIsEmpty: boolean;
  readonly #out: Uint8Array;
  #length = 0;

  constructor(start: SanitizerState, inputBytes: number) {
    this.#isText = start.mode === 'text';
    this.#at = start.at;
    this.#collected = start.collected;
    this.#sequenceBytes = start.sequenceBytes;
    this.#partial = [...start.partial];
    this.#heldCr = start.heldCr;
    this.#lineIsEmpty = start.lineIsEmpty;
    // A byte grows to three at most; besides, what is held: a character, a sequence, a CR.
    this.#out = new Uint8Array(3 * inputBytes + start.collected.length + 8);
  }

  state(): SanitizerState {
    return {
      mode: this.#isText ? 'text' : 'terminal',
      at: this.#at,
      collected: this.#collected,
      sequenceBytes: this.#sequenceBytes,
      partial: this.#partial,
      heldCr: this.#heldCr,
      lineIsEmpty: this.#lineIsEmpty,
    };
  }

  output(): Uint8Array {
    return this.#out.slice(0, this.#length);
  }

  run(input: Uint8Array): void {
    for (let i = 0; i < input.length; i++) {
      const byte = input[i]!;
      if (this.#partial.length > 0) this.#continueCharacter(byte);
      else if (byte < 0x80) {
        if (byte >= 0x20 && byte < 0x7f && this.#at === 'ground') {
          let end = i + 1;
          while (end < input.length && input[end]! >= 0x20 && input[end]! < 0x7f) end++;
          this.#writeRun(input, i, end);
          i = end - 1;
        } else this.#ascii(byte);
      } else this.#startCharacter(byte);
    }
  }

  // UTF-8 (RFC 3629): shortest forms only, no surrogates.

  #startCharacter(byte: number): void {
    if (byte >= 0xc2 && byte <= 0xf4) this.#partial = [byte];
    else if (byte < 0xa0) this.#c1(byte);
    else this.#character(REPLACEMENT);
  }

  #continueCharacter(byte: number): void {
    const lead = this.#partial[0]!;
    const isSecond = this.#partial.length === 1;
    const least = isSecond ? (lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80) : 0x80;
    const most = isSecond ? (lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf) : 0xbf;
    if (byte < least || byte > most) {
      this.#partial = [];
      this.#character(REPLACEMENT);
      if (byte < 0x80) this.#ascii(byte);
      else this.#startCharacter(byte);
      return;
    }
    const character = [...this.#partial, byte];
    if (character.length < (lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4)) {
      this.#partial = character;
      return;
    }
    this.#partial = [];
    if (lead === 0xc2 && byte < 0xa0) this.#c1(byte);
    else this.#character(character);
  }

  /** A character outside ASCII. */
  #character(utf8: readonly number[]): void {
    if (this.#at === 'string') return this.#swallow();
    this.#at = 'ground';
    this.#writeRun(utf8, 0, utf8.length);
  }

  /** 8-bit controls are never passed on; those that begin a sequence take it with them. */
  #c1(byte: number): void {
    if (byte === 0x90 || byte === 0x98 || (byte >= 0x9d && byte <= 0x9f)) this.#begin('string');
    else if (byte === 0x9b) this.#begin('csi-ignored');
    else if (this.#at !== 'string' || byte === 0x9c) this.#at = 'ground';
    else this.#swallow();
  }

  #ascii(byte: number): void {
    if (byte === 0x1b) this.#begin('escape');
    else if (byte === 0x18 || byte === 0x1a) this.#at = 'ground';
    else if (byte === 0x0a) {
      if (this.#at === 'string') this.#at = 'ground';
      this.#control(byte);
    } else if (this.#at === 'string') {
      if (byte === 0x07) this.#at = 'ground';
      else this.#swallow();
    } else if (byte < 0x20) this.#control(byte);
    else if (byte !== 0x7f) this.#printable(byte);
  }

  /** C0 controls act at once, even inside a sequence. */
  #control(byte: number): void {
    if (this.#isText) {
      if (byte === 0x0d) this.#heldCr = true;
      else if (byte === 0x0a) {
        this.#heldCr = false;
        this.#lineIsEmpty = true;
        this.#out[this.#length++] = byte;
      } else if (byte === 0x09) this.#writeRun([byte], 0, 1);
    } else if (byte >= 0x08 && byte <= 0x0f) this.#out[this.#length++] = byte;
  }

  #printable(byte: number): void {
    const char = String.fromCharCode(byte);
    this.#sequenceBytes++;
    switch (this.#at) {
      case 'escape':
        if (char === '[' && this.#collected === '') this.#begin('csi');
        else if (this.#collected === '' && 'P]X^_'.includes(char)) this.#begin('string');
        else if (byte < 0x30) this.#collect(char, 4);
        else this.#end(isKeptEscape(this.#collected, char) ? this.#collected + char : null);
        return;
      case 'csi':
        if (byte < 0x40) this.#collect(char, CSI_BYTES_MAX);
        else {
          const kept = keptControlSequence(this.#collected, char);
          this.#end(kept === null ? null : `[${kept}`);
        }
        return;
      case 'csi-ignored':
        if (byte >= 0x40) this.#at = 'ground';
        else this.#swallow();
        return;
      case 'string':
      case 'ground':
        this.#writeRun([byte], 0, 1);
    }
  }

  #begin(at: SanitizerState['at']): void {
    this.#at = at;
    this.#collected = '';
    this.#sequenceBytes = 0;
  }

  #collect(char: string, bytesMax: number): void {
    if (this.#collected.length < bytesMax) this.#collected += char;
    else this.#at = 'csi-ignored';
  }

  #end(sequence: string | null): void {
    this.#at = 'ground';
    if (sequence === null || this.#isText) return;
    this.#out[this.#length++] = 0x1b;
    for (let i = 0; i < sequence.length; i++) {
      this.#out[this.#length++] = sequence.charCodeAt(i);
    }
  }

  #swallow(): void {
    this.#sequenceBytes++;
    if (this.#sequenceBytes >= SEQUENCE_BYTES_MAX) this.#at = 'ground';
  }

  #writeRun(from: ArrayLike<number>, start: number, end: number): void {
    if (this.#heldCr && !this.#lineIsEmpty) this.#out[this.#length++] = 0x0d;
    this.#heldCr = false;
    this.#lineIsEmpty = false;
    for (let i = start; i < end; i++) this.#out[this.#length++] = from[i]!;
  }
}

/** Charset designation, line size and DECALN; save, restore, IND, NEL, HTS, RI, RIS. */
function isKeptEscape(intermediates: string, final: string): boolean {
  if (intermediates === '') return '78DEHMc'.includes(final);
  if (intermediates === '#') return '34568'.includes(final);
  return intermediates.length === 1 && '()*+'.includes(intermediates) && '0AB'.includes(final);
}

const KEPT_PLAIN = '@ABCDEFGHIJKLMPSTXZ`abdefgmrsu';
/** DECSTR, cursor shape, DECSCA, scroll left and right, insert and delete columns. */
const KEPT_WITH_INTERMEDIATE = ['!p', ' q', '"q', ' @', ' A', "'}", "'~"];
/** Private modes that only change the picture: reverse, origin, wrap, cursor, alternate screen. */
const KEPT_PRIVATE_MODES = ['5', '6', '7', '12', '25', '45', '47', '1047', '1048', '1049'];

/** The sequence to pass on (without its `ESC [`), null for none. */
function keptControlSequence(collected: string, final: string): string | null {
  const match = /^([<=>?]?)([0-9;:]*)([ -/]*)$/.exec(collected);
  if (!match) return null;
  const [, prefix, parameters, intermediates] = match as unknown as [
    string,
    string,
    string,
    string,
  ];
  if (/\d{6}/.test(parameters)) return null;
  if (parameters.includes(':') && (final !== 'm' || prefix !== '')) return null;
  if (intermediates !== '') {
    return prefix === '' && KEPT_WITH_INTERMEDIATE.includes(intermediates + final)
      ? collected + final
      : null;
  }
  if (prefix === '?') {
    if (final === 'K' || (final === 'J' && !parameters.includes('3'))) return collected + final;
    if (final !== 'h' && final !== 'l') return null;
    const modes = parameters.split(';').filter((mode) => KEPT_PRIVATE_MODES.includes(mode));
    return modes.length === 0 ? null : `?${modes.join(';')}${final}`;
  }
  if (prefix !== '') return null;
  if (final === 'h' || final === 'l') return parameters === '4' ? parameters + final : null;
  if (!KEPT_PLAIN.includes(final)) return null;
  switch (final) {
    case 'J': // 3 erases the scrollback of whoever looks
      return parameters.includes('3') ? null : parameters + final;
    case 'b': // repeats a character: not so often that it hurts
      return Number(parameters.split(';')[0]) > 9999 ? null : parameters + final;
    case 'T': // with five parameters: mouse tracking
    case 's': // with parameters: margins
    case 'u': // with parameters: keyboard, on some
      return parameters.includes(';') ? null : parameters + final;
    default:
      return parameters + final;
  }
}
