import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { TerminalTrace } from '../../src/sessions/terminal-trace.ts';
import { Screen, said } from './terminal.ts';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

describe('the trace of a terminal', () => {
  it('brings any terminal back to its normal screen and modes, however the bytes were cut', async () => {
    await fc.assert(
      fc.asyncProperty(said, fc.array(fc.nat(60)), async (bytes, cuts) => {
        const trace = new TerminalTrace();
        const screen = new Screen();
        const places = [0, ...cuts.sort((a, b) => a - b), bytes.length];
        for (const [i, from] of places.slice(0, -1).entries()) {
          trace.wrote(bytes.subarray(from, places[i + 1]));
        }
        await screen.feed(bytes, trace.restore());
        const { active } = screen.terminal.buffer;
        const { insertMode, originMode, wraparoundMode, mouseTrackingMode } = screen.terminal.modes;
        assert.deepEqual(
          { type: active.type, insertMode, originMode, wraparoundMode, mouseTrackingMode },
          {
            type: 'normal',
            ...{ insertMode: false, originMode: false, wraparoundMode: true },
            mouseTrackingMode: 'none',
          },
        );
      }),
    );
  });

  it('puts the cursor back where it was before a full-screen program, and leaves plain text alone', async () => {
    const trace = new TerminalTrace();
    const screen = new Screen();
    const device = ['login: \x1b[?10', '49h\x1b[2J\x1b[3;3Hmenu'];
    for (const part of device) trace.wrote(Buffer.from(part));
    await screen.feed(...device, trace.restore(), '$ ');
    assert.equal(screen.shows()[2], 'login: $');
    const plain = new TerminalTrace();
    plain.wrote(Buffer.from('login: '));
    assert.equal(plain.restore().length, 0);
  });

  it('knows the start of a line', () => {
    const trace = new TerminalTrace();
    const ours = Buffer.from('\r\n[fairlead: x]\r\n');
    for (const [wrote, isAtStart] of [
      ['', false],
      ['text', false],
      ['text\n', false],
      ['text\r', false],
      ['\n', true],
      ['', true],
      ['a\r\n', true],
      ['\n\r', true],
      ['\x1b[0m', false],
    ] as const) {
      trace.wrote(Buffer.from(wrote));
      assert.equal(text(trace.trim(ours)), isAtStart ? '[fairlead: x]\r\n' : text(ours), wrote);
    }
    assert.equal(text(trace.trim(Buffer.from('typed'))), 'typed');
  });
});
