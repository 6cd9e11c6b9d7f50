import { Fault } from '../core/fault.ts';

/**
 * Splits a command line into words the way a POSIX shell does (XCU 2.2), without expanding
 * anything: single quotes keep all, double quotes keep all but `\"`, `\\`, `\$`, `` \` `` and a
 * backslash before a newline, a bare backslash keeps the next character. `$`, `*`, `~`, `;`, `|` and
 * `#` are ordinary characters.
 * @throws Fault USAGE for a quote that is not closed, or a backslash at the end.
 */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  let i = 0;
  while (i < line.length) {
    const char = line[i]!;
    if (/[ \t\r\n]/.test(char)) {
      if (word !== null) words.push(word);
      word = null;
      i++;
    } else if (char === "'") {
      const close = line.indexOf("'", i + 1);
      if (close < 0) throw new Fault('USAGE', "a single quote (') is not closed");
      word = (word ?? '') + line.slice(i + 1, close);
      i = close + 1;
    } else if (char === '"') {
      const quoted = readDoubleQuoted(line, i + 1);
      word = (word ?? '') + quoted.text;
      i = quoted.next;
    } else if (char === '\\') {
      if (i + 1 >= line.length) throw new Fault('USAGE', 'a backslash (\\) at the end of the line');
      word = line[i + 1] === '\n' ? word : (word ?? '') + line[i + 1]!;
      i += 2;
    } else {
      word = (word ?? '') + char;
      i++;
    }
  }
  if (word !== null) words.push(word);
  return words;
}

/** The inverse: one line that `splitWords`, and a shell, takes apart into the same words. */
export function joinWords(words: readonly string[]): string {
  return words
    .map((word) =>
      /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`,
    )
    .join(' ');
}

function readDoubleQuoted(line: string, start: number): { text: string; next: number } {
  let text = '';
  for (let i = start; i < line.length; i++) {
    const char = line[i]!;
    if (char === '"') return { text, next: i + 1 };
    if (char === '\\' && i + 1 < line.length && '"\\$`\n'.includes(line[i + 1]!)) {
      i++;
      if (line[i] !== '\n') text += line[i]!;
    } else text += char;
  }
  throw new Fault('USAGE', 'a double quote (") is not closed');
}
