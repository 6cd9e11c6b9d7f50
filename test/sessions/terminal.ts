import xterm from '@xterm/headless';
import type { Terminal } from '@xterm/headless';
import fc from 'fast-check';

/** Small, so that lines wrap and scroll. */
export const SIZE = { columns: 20, rows: 6 };

/** A terminal without a window. */
export class Screen {
  readonly terminal: Terminal;

  constructor(size = SIZE) {
    this.terminal = new xterm.Terminal({
      cols: size.columns,
      rows: size.rows,
      scrollback: 1_000,
      allowProposedApi: true,
      logLevel: 'off',
    });
  }

  feed(...parts: (string | Uint8Array)[]): Promise<void> {
    for (const part of parts.slice(0, -1)) this.terminal.write(part);
    return new Promise((resolve) => this.terminal.write(parts.at(-1)!, resolve));
  }

  /** All that one sees, and what decides how it goes on. */
  shows(): string[] {
    const { active } = this.terminal.buffer;
    const lines = [`${active.type} ${active.cursorX},${active.cursorY}`];
    // Not to be restored: output held back for a moment, and a mode that reports by itself.
    const passing = { synchronizedOutputMode: false, sendFocusMode: false };
    lines.push(JSON.stringify({ ...this.terminal.modes, ...passing }));
    for (let row = 0; row < this.terminal.rows; row++) {
      const line = active.getLine(active.baseY + row)!;
      let text = '';
      for (let column = 0; column < this.terminal.cols; column++) {
        const cell = line.getCell(column)!;
        if (cell.getWidth() === 0) continue;
        const chars = cell.getChars() || ' ';
        const marks = [
          cell.isBgDefault() ? '' : `bg${cell.getBgColor()}`,
          cell.isInverse() ? 'inverse' : '',
          cell.isUnderline() ? 'underline' : '',
          chars === ' ' || cell.isFgDefault() ? '' : `fg${cell.getFgColor()}`,
          chars !== ' ' && cell.isBold() ? 'bold' : '',
        ].join('');
        text += marks === '' ? chars : `<${marks}>${chars}`;
      }
      lines.push(text.trimEnd());
    }
    return lines;
  }

  text(): string {
    const { active } = this.terminal.buffer;
    return Array.from({ length: this.terminal.rows }, (_, row) =>
      active.getLine(active.baseY + row)!.translateToString(true),
    ).join('\n');
  }

  older(): string[] {
    const { active } = this.terminal.buffer;
    return Array.from({ length: active.baseY }, (_, row) =>
      active.getLine(row)!.translateToString(true),
    );
  }
}

const escaped = (...sequences: string[]): fc.Arbitrary<string> =>
  fc.constantFrom(...sequences.map((sequence) => `\x1b${sequence}`));

/**
 * Without `ESC [ 1 J`, at which xterm 6.0.0 throws in the last row, and what joins the last character.
 * Wide characters and lines that do not wrap apart: together they leave halves of characters.
 */
function parts(wide: string, wrapping: readonly string[]): fc.Arbitrary<Buffer> {
  const part = fc.oneof(
    { weight: 8, arbitrary: fc.string({ minLength: 1, maxLength: 9 }) },
    { weight: 6, arbitrary: fc.constantFrom('\r\n', '\r\n', '\n', '\r', '\b', '\t') },
    { weight: 2, arbitrary: fc.constantFrom('é', '─', wide) },
    {
      weight: 6,
      arbitrary: escaped(
        ...['[31m', '[44m', '[0m', '[1;7m', '[4;38;5;200m', '[48;2;1;2;3m', '[K', '[1K', '[2K'],
        ...['[A', '[B', '[3C', '[2D', '[3P', '[2@', '[4X', '[5G'],
      ),
    },
    {
      weight: 2,
      arbitrary: escaped(
        ...['[H', '[2J', '[J', '[5;3H', '[6;20H', '[3d', '[L', '[2M', '[S', '[T', '[2;4r', '[r'],
        ...['[?1049h', '[?1049l', '[?6h', '[?6l', '[?25l', '[?25h', '[4h', '[4l', ...wrapping],
        ...['[?1h', '[?2004h', '[?1002;1006h', '(0', '(B', ')0', '7', '8', 'M', 'c', '[!p', '[6n'],
      ),
    },
  );
  return fc.array(part, { maxLength: 60, size: 'max' }).map((all) => Buffer.from(all.join('')));
}

/** What a device may say to a terminal. */
export const said = fc.oneof(parts('世界', []), parts('ö', ['[?7l', '[?7h']));
