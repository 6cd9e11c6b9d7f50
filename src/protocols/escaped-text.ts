import { Fault } from '../core/fault.ts';

/**
 * Bytes as people write them, on a command line and in the configuration: `\r \n \t \e \\` and
 * `\xNN` are one byte each; all else is UTF-8.
 * @throws Fault USAGE for another backslash.
 */
export function unescapeText(typed: string): Uint8Array {
  const parts: Buffer[] = [];
  for (const [part] of typed.matchAll(/[^\\]+|\\(?:x[0-9a-fA-F]{2}|[^x]|x.{0,2})?/gs)) {
    if (!part.startsWith('\\')) parts.push(Buffer.from(part));
    else if (/^\\x[0-9a-fA-F]{2}$/.test(part)) parts.push(Buffer.from(part.slice(2), 'hex'));
    else if (part.length === 2 && ESCAPED[part[1]!] !== undefined) {
      parts.push(Buffer.from(ESCAPED[part[1]!]!));
    } else {
      throw new Fault('USAGE', `"${part}" is not one of \\r \\n \\t \\e \\\\ \\xNN`);
    }
  }
  return Buffer.concat(parts);
}

const ESCAPED: Readonly<Record<string, string>> = {
  r: '\r',
  n: '\n',
  t: '\t',
  e: '\x1b',
  '\\': '\\',
};
