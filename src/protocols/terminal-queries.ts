/**
 * Takes out of a device's output what makes a terminal answer (DESIGN 11): only the terminal of the
 * person who writes may answer a device, and nobody's answers what the log says. All else stays as
 * it is, byte for byte: this is for a terminal that shows the device live, `sanitize` for text.
 *
 * Pure, total and bounded: any chunking comes to the same bytes, and at most `HELD_BYTES_MAX` of an
 * unfinished sequence wait in the state. Taken out are ENQ, DECID, every control sequence that is
 * not known to keep still (so DA, DSR, DECRQM, XTVERSION, reports of windows, rectangles, colours),
 * modes that report by themselves, all of DCS, SOS, PM and APC, and OSC but for titles, links and
 * the setting of colours. The terminal is taken to speak UTF-8. Sequences are those of ECMA-48 and
 * of xterm's ctlseqs.
 */
export function stripQueries(
  start: QueryState,
  input: Uint8Array,
): { state: QueryState; bytes: Uint8Array } {
  if (start.at === 'ground' && start.held.length === 0) {
    const plainBytes = plainPrefix(input);
    if (plainBytes === input.length) return { state: start, bytes: input };
  }
  const machine = new Machine(start, input.length);
  for (const byte of input) machine.take(byte);
  return machine.result();
}

/** Between two chunks. Plain data; take it as it is. */
export interface QueryState {
  readonly at: At;
  /** Bytes that were taken in and not given out: an unfinished sequence or character, as it came. */
  readonly held: readonly number[];
  /** How many of the last of them begin a UTF-8 character. */
  readonly partial: number;
  /** Bytes of a control string that is swallowed whatever it says. */
  readonly ignoredBytes: number;
}

type At = 'ground' | 'escape' | 'csi' | 'csi-ignored' | 'osc' | 'osc-escape' | 'string';

export const QUERIES_START: QueryState = { at: 'ground', held: [], partial: 0, ignoredBytes: 0 };

/** A longer sequence is swallowed; a longer control string ends there. */
export const HELD_BYTES_MAX = 4_096;
const CSI_BYTES_MAX = 256;

/**
 * Input that is nothing but what a terminal sends by itself: answers to DSR, DA, DECRQM and the
 * like, focus and mouse reports. A person typed none of it.
 */
export function isTerminalAnswer(input: Uint8Array): boolean {
  if (input.length < 3 || input.length > 1_024 || input[0] !== 0x1b) return false;
  return TERMINAL_ANSWERS.test(Buffer.from(input).toString('latin1'));
}

/**
 * CPR, DSR, DA, DECRPM, window reports, focus, mouse (X10 and SGR), kitty flags; then control
 * strings. A function key is `ESC [ ... ~`, an arrow `ESC [ 1 ; 2 A`; F3 with a modifier looks like
 * the report of a cursor in row 1 and so only passes from who writes.
 */
const TERMINAL_ANSWERS =
  /^(?:\x1b\[\??\d+(?:;\d+){1,2}R|\x1b\[[?>=]?[\d;]*c|\x1b\[\??[\d;]*n|\x1b\[\??\d+;\d+\$y|\x1b\[\d+(?:;\d+)*t|\x1b\[[IO]|\x1b\[<\d+;\d+;\d+[Mm]|\x1b\[M[^]{3}|\x1b\[\?\d*u|\x1b[\]P_][^\x1b\x07]*(?:\x07|\x1b\\))+$/;

/** Bytes before the first that could matter. */
function plainPrefix(input: Uint8Array): number {
  let at = 0;
  while (at < input.length && isPlain(input[at]!)) at++;
  return at;
}

function isPlain(byte: number): boolean {
  return byte < 0x80 && byte !== ESC && byte !== ENQ;
}

const ENQ = 0x05;
const BEL = 0x07;
const LF = 0x0a;
const CAN = 0x18;
const SUB = 0x1a;
const ESC = 0x1b;
const DEL = 0x7f;

class Machine {
  #at: At;
  #held: number[];
  #partial: number;
  #ignoredBytes: number;
  readonly #out: Uint8Array;
  #length = 0;

  constructor(start: QueryState, inputBytes: number) {
    this.#at = start.at;
    this.#held = [...start.held];
    this.#partial = start.partial;
    this.#ignoredBytes = start.ignoredBytes;
    this.#out = new Uint8Array(inputBytes + start.held.length);
  }

  result(): { state: QueryState; bytes: Uint8Array } {
    const state: QueryState = {
      at: this.#at,
      held: this.#held,
      partial: this.#partial,
      ignoredBytes: this.#ignoredBytes,
    };
    return { state, bytes: this.#out.subarray(0, this.#length) };
  }

  /** UTF-8 first (RFC 3629): what is inside a character is no control. */
  take(byte: number): void {
    if (this.#partial > 0) this.#continueCharacter(byte);
    else if (byte < 0x80) this.#ascii(byte);
    else if (byte >= 0xc2 && byte <= 0xf4) {
      this.#partial = 1;
      this.#held.push(byte);
    } else if (byte < 0xa0) this.#c1(byte, [byte]);
    else this.#character([byte]);
  }

  #continueCharacter(byte: number): void {
    const lead = this.#held.at(-this.#partial)!;
    const isSecond = this.#partial === 1;
    const least = isSecond && lead === 0xe0 ? 0xa0 : isSecond && lead === 0xf0 ? 0x90 : 0x80;
    const most = isSecond && lead === 0xed ? 0x9f : isSecond && lead === 0xf4 ? 0x8f : 0xbf;
    const isWhole = this.#partial + 1 === (lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4);
    if (byte >= least && byte <= most && !isWhole) {
      this.#partial++;
      this.#held.push(byte);
      return;
    }
    const before = this.#held.splice(-this.#partial);
    this.#partial = 0;
    if (byte < least || byte > most) {
      this.#character(before);
      this.take(byte);
    } else if (lead === 0xc2 && byte < 0xa0) this.#c1(byte, [lead, byte]);
    else this.#character([...before, byte]);
  }

  /** What is not ASCII, well-formed or not. */
  #character(bytes: readonly number[]): void {
    if (this.#at === 'osc') this.#hold(bytes);
    else if (this.#at === 'string') this.#ignore(bytes.length);
    else {
      // It ends a sequence that it cannot be part of.
      this.#toGround();
      this.#write(bytes);
    }
  }

  /** An 8-bit control, as one byte or in UTF-8. */
  #c1(code: number, bytes: readonly number[]): void {
    if (code === 0x9b) this.#begin('csi', bytes);
    else if (code === 0x9d) this.#begin('osc', bytes);
    else if (code === 0x90 || code === 0x98 || code >= 0x9e) this.#begin('string', []);
    else if (code === 0x9c && this.#at === 'osc') this.#endOsc(bytes);
    else {
      const isInside = this.#at === 'string';
      this.#toGround();
      // DECID asks; a terminator belongs to the string that was taken out.
      if (code !== 0x9a && !isInside) this.#write(bytes);
    }
  }

  #ascii(byte: number): void {
    if (this.#at === 'osc-escape') {
      if (byte === 0x5c) return this.#endOsc([byte]);
      // Another sequence cut the string short.
      this.#begin('escape', [ESC]);
    }
    if (byte === ESC) this.#escape();
    else if (byte === CAN || byte === SUB) {
      this.#toGround();
      this.#write([byte]);
    } else if (this.#at === 'osc' || this.#at === 'string') this.#inString(byte);
    else if (byte < 0x20) {
      // The other C0 controls act at once, even inside a sequence.
      if (byte !== ENQ) this.#write([byte]);
    } else if (this.#at === 'ground') this.#write([byte]);
    else if (byte !== DEL) this.#inSequence(byte);
  }

  #escape(): void {
    if (this.#at === 'osc') {
      this.#hold([ESC]);
      if (this.#at === 'osc') this.#at = 'osc-escape';
      else this.#begin('escape', [ESC]);
    } else this.#begin('escape', [ESC]);
  }

  #inString(byte: number): void {
    if (byte === LF) {
      // Line noise may begin a string that nothing ends: it hides one line at most.
      this.#toGround();
      this.#write([byte]);
    } else if (this.#at === 'osc') {
      if (byte === BEL) this.#endOsc([byte]);
      else if (byte !== ENQ) this.#hold([byte]);
    } else if (byte === BEL) this.#toGround();
    else this.#ignore(1);
  }

  #inSequence(byte: number): void {
    if (this.#at === 'csi-ignored') {
      if (byte >= 0x40) this.#toGround();
      return;
    }
    this.#held.push(byte);
    if (this.#at === 'escape') this.#inEscape(byte);
    else if (byte >= 0x40) this.#end(keptControlSequence(this.#held));
    else if (this.#held.length > CSI_BYTES_MAX) this.#begin('csi-ignored', []);
  }

  #inEscape(byte: number): void {
    const isFirst = this.#held.length === 2;
    const char = String.fromCharCode(byte);
    if (byte < 0x30) {
      if (this.#held.length > 4) this.#begin('csi-ignored', []);
    } else if (isFirst && char === '[') this.#at = 'csi';
    else if (isFirst && char === ']') this.#at = 'osc';
    else if (isFirst && 'PX^_'.includes(char)) this.#begin('string', []);
    // DECID asks; ESC % would change the coding that all this is about.
    else this.#end((isFirst && char === 'Z') || this.#held[1] === 0x25 ? [] : this.#held);
  }

  #endOsc(terminator: readonly number[]): void {
    this.#held.push(...terminator);
    this.#end(isKeptOsc(this.#held) ? this.#held : []);
  }

  #begin(at: At, held: readonly number[]): void {
    this.#at = at;
    this.#held = [...held];
    this.#ignoredBytes = 0;
  }

  #end(bytes: readonly number[]): void {
    this.#toGround();
    this.#write(bytes);
  }

  #toGround(): void {
    this.#begin('ground', []);
  }

  #hold(bytes: readonly number[]): void {
    this.#held.push(...bytes);
    if (this.#held.length > HELD_BYTES_MAX) this.#begin('string', []);
  }

  #ignore(count: number): void {
    this.#ignoredBytes += count;
    if (this.#ignoredBytes >= HELD_BYTES_MAX) this.#toGround();
  }

  #write(bytes: readonly number[]): void {
    for (const byte of bytes) this.#out[this.#length++] = byte;
  }
}

/** Control sequences without intermediates that a terminal takes in silence, by their prefix. */
const KEPT_FINALS: Readonly<Record<string, string>> = {
  '': '@ABCDEFGHIJKLMPSTXZ`abdefghlmqrstu',
  '?': 'hlJKWrs',
  '>': 'mpTtu',
  '<': 'u',
  '=': 'u',
};
/** DECSTR, cursor shape, DECSCA, scrolling and columns, and what fills or copies rectangles. */
const KEPT_WITH_INTERMEDIATES = [
  ...['!p', ' q', '"q', ' @', ' A', "'}", "'~"],
  ...['$r', '$t', '$v', '$x', '$z', '${', '*x'],
];
/**
 * Private modes that report by themselves, or wait for a program: Tektronix, highlight tracking,
 * focus, colour scheme, size in band.
 */
const REPORTING_MODES = ['38', '1001', '1004', '2031', '2048'];

/** The bytes to pass on of a whole control sequence. */
function keptControlSequence(held: readonly number[]): readonly number[] {
  const introducerBytes = held[0] === 0x9b ? 1 : 2;
  const text = String.fromCharCode(...held.slice(introducerBytes));
  const match = /^([<=>?]?)([0-9;:]*)([ -/]*)(.)$/.exec(text);
  if (!match) return [];
  const [, prefix, parameters, intermediates, final] = match as unknown as [
    string,
    string,
    string,
    string,
    string,
  ];
  if (intermediates !== '') {
    const isKept = prefix === '' && KEPT_WITH_INTERMEDIATES.includes(intermediates + final);
    return isKept ? held : [];
  }
  if (!KEPT_FINALS[prefix]?.includes(final)) return [];
  if (prefix === '' && final === 't') {
    // 11 to 21 report the window; 8 resizes it, 22 and 23 stack its title.
    const operation = /^\d+/.exec(parameters);
    const number = operation ? Number(operation[0]) : 11;
    return number >= 11 && number <= 21 ? [] : held;
  }
  if (prefix === '?' && final === 'h') {
    const modes = parameters.split(';');
    const kept = modes.filter((mode) => !REPORTING_MODES.includes(mode.replace(/^0+/, '')));
    if (kept.length === modes.length) return held;
    if (kept.length === 0) return [];
    return [...held.slice(0, introducerBytes), ...Buffer.from(`?${kept.join(';')}h`)];
  }
  return held;
}

/** A whole OSC: titles, directory, link, prompt marks, and colours unless they are asked for. */
function isKeptOsc(held: readonly number[]): boolean {
  const text = String.fromCharCode(...held.slice(held[0] === 0x9d ? 1 : 2));
  // Another control inside ends the string for some terminals and not for others.
  if (/[\x00-\x06\x08-\x1a\x1c-\x1f]/.test(text)) return false;
  const number = Number(/^(\d{1,3})(?:;|\x07|\x1b|\x9c|\xc2\x9c)/.exec(text)?.[1]);
  if ([0, 1, 2, 7, 8, 133].includes(number)) return true;
  const isColour =
    number === 4 ||
    number === 5 ||
    (number >= 10 && number <= 19) ||
    (number >= 104 && number <= 119);
  return isColour && !text.includes('?');
}
