import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LastWords } from '../../src/frontends/last-words.ts';

const SILENCE_MS = 20;

function session(): {
  views: number;
  view(): Promise<void>;
  input(): Promise<void>;
  inputDelivered(): Promise<void>;
  detach(): void;
} {
  const made = {
    views: 0,
    async view() {
      made.views++;
    },
    input: () => Promise.resolve(),
    inputDelivered: () => Promise.resolve(),
    detach: () => undefined,
  };
  return made;
}

describe('the last words of a half-closed client', () => {
  it('end the session of one that sent something, after silence; a mere listener stays', async () => {
    let listenerEnded = false;
    const listener = new LastWords(() => (listenerEnded = true), SILENCE_MS);
    const listening = session();
    await listener.inputEnded(listening);

    const speaking = session();
    await new Promise<void>((resolve) => {
      const speaker = new LastWords(resolve, 5 * SILENCE_MS);
      speaker.gaveInput();
      void speaker.inputEnded(speaking);
    });
    assert.equal(listenerEnded, false);
    assert.deepEqual([listening.views, speaking.views], [1, 1], 'both gave write up');
  });

  it('wait while the client has not taken all that came', async () => {
    let hasEnded = false;
    const words = new LastWords(() => (hasEnded = true), SILENCE_MS);
    words.gaveInput();
    const taken = words.said(() => undefined);
    await words.inputEnded(session());
    await new Promise<void>((resolve) => {
      const other = new LastWords(resolve, 5 * SILENCE_MS);
      other.gaveInput();
      void other.inputEnded(session());
    });
    assert.equal(hasEnded, false);
    taken();
    await new Promise<void>((resolve) => {
      const other = new LastWords(resolve, 5 * SILENCE_MS);
      other.gaveInput();
      void other.inputEnded(session());
    });
    assert.equal(hasEnded, true);
  });
});
