import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend, BackendOpener } from '../../src/core/backend.ts';
import type { FaultCode } from '../../src/core/fault.ts';
import { noise, RecordingSink, writeAll } from '../support/backend.ts';
import { until } from '../support/pty.ts';

/** A backend and the device at its far end, played by the test. */
export interface BackendFixture {
  opener: BackendOpener;
  /** The device sends; resolves when the line took it all. */
  send(bytes: Uint8Array): Promise<void>;
  /** What the device has got since the last call. It takes nothing in between. */
  receive(): Buffer;
  /** The device goes away for good; null where it cannot. */
  leave: (() => void) | null;
  dispose(): Promise<void> | void;
}

export interface BackendTraits {
  /** What the backend has no hardware for. */
  unsupported: readonly ('line' | 'signals' | 'break')[];
  /** Makes bytes that the line can carry out of any bytes; absent: it carries all of them. */
  carried?: (bytes: Uint8Array) => Buffer;
}

const LINE = { baud: 9_600, dataBits: 8, parity: 'none', stopBits: 1 } as const;
/** `close` promises one second; a busy machine may take longer to tell. */
const CLOSE_MS_MAX = 4_000;

/** What every kind of backend promises (core/backend.ts). */
export function describeBackendContract(
  name: string,
  traits: BackendTraits,
  makeFixture: () => Promise<BackendFixture>,
): void {
  const carried = traits.carried ?? ((bytes: Uint8Array): Buffer => Buffer.from(bytes));
  const said = (text: string): Buffer => carried(Buffer.from(text));

  describe(`${name} as a backend`, () => {
    let fixture: BackendFixture;
    let sink: RecordingSink;
    let backend: Backend;

    beforeEach(async () => {
      fixture = await makeFixture();
      sink = new RecordingSink();
      backend = await fixture.opener.open(sink);
    });
    afterEach(async () => {
      await backend.close();
      await fixture.dispose();
    });

    it('hands over what the device sends, whole and in order', async () => {
      const sent = carried(noise(1_048_576));
      for (let at = 0, size = 1; at < sent.length; at += size) {
        size = 1 + ((size * 7_919) % 20_011);
        await fixture.send(sent.subarray(at, at + size));
      }
      await until(() => sink.receivedBytes >= sent.length, 'the whole megabyte');
      assert.ok(sink.bytes.equals(sent), 'the bytes are the same');
      assert.equal(sink.faults.length, 0);
    });

    it('hands over a few bytes at a time, with silence between, watched or not', async () => {
      let sent = Buffer.alloc(0);
      for (const isWatched of [false, true, false]) {
        backend.setWatched(isWatched);
        for (const word of ['login: ', 'p', 'assword: ']) {
          sent = Buffer.concat([sent, said(word)]);
          await fixture.send(said(word));
          await until(() => sink.receivedBytes >= sent.length, `"${word}"`);
          await sleep(60); // long enough to leave the sweep
        }
      }
      assert.ok(sink.bytes.equals(sent), sink.text);
    });

    it('writes all of it to a device that takes its time', async () => {
      const wanted = carried(noise(400_000, 2));
      const got: Buffer[] = [];
      let gotBytes = 0;
      const writing = writeAll(backend, sink, wanted);
      await until(() => {
        const part = fixture.receive();
        if (part.length > 0) got.push(part);
        gotBytes += part.length;
        return gotBytes >= wanted.length;
      }, 'the device to get everything');
      const refusals = await writing;
      assert.ok(Buffer.concat(got).equals(wanted), 'the bytes are the same');
      assert.ok(refusals > 0, 'a slow device is felt');
    });

    it('takes no more than it can pass on or hold', () => {
      let taken = 0;
      for (let i = 0; i < 1_000; i++) taken += backend.write(carried(noise(65_536)));
      assert.ok(taken < 20_000_000, `took ${taken} bytes that nobody reads`);
    });

    it('does not keep the memory it is given', async () => {
      const memory = Buffer.from('reboot\r');
      assert.equal(backend.write(memory), 7);
      memory.fill('x');
      const got: Buffer[] = [];
      await until(() => {
        got.push(fixture.receive());
        return Buffer.concat(got).length >= 7;
      }, 'the device to get 7 bytes');
      assert.equal(Buffer.concat(got).toString(), 'reboot\r');
    });

    it('closes quickly though the device takes nothing, and is silent then', async () => {
      while (backend.write(carried(noise(65_536))) > 0);
      await fixture.send(said('more'));
      const startedMs = performance.now();
      await backend.close();
      assert.ok(performance.now() - startedMs < CLOSE_MS_MAX);
      assert.equal(backend.isAlive(), false);
      assert.equal(backend.write(Buffer.from('x')), 0);
      const { calls } = sink;
      fixture.leave?.();
      await sleep(50);
      assert.equal(sink.calls, calls, 'no call after close');
      await backend.close(); // again: nothing happens
    });

    it('opens again after a close', async () => {
      await backend.close();
      sink = new RecordingSink();
      backend = await fixture.opener.open(sink);
      await fixture.send(said('back again'));
      await until(() => sink.bytes.equals(said('back again')), 'bytes after the second open');
    });

    it('says PORT_UNSUPPORTED to what its line cannot do', async () => {
      const attempts = {
        line: [() => backend.setLine(LINE, 'none')],
        signals: [() => backend.setSignals({ dtr: false })],
        break: [() => backend.sendBreak(300), () => backend.setBreak(true)],
      };
      for (const what of traits.unsupported) {
        for (const attempt of attempts[what]) {
          await assert.rejects(attempt(), hasCode('PORT_UNSUPPORTED'), what);
        }
      }
      assert.equal(backend.isAlive(), true);
    });

    it('tells the signals it knows, and none it does not', async () => {
      const signals = await backend.signals();
      for (const [name, state] of Object.entries(signals)) {
        assert.match(name, /^(dtr|rts|cts|dsr|dcd|ri)$/);
        assert.equal(typeof state, 'boolean', name);
      }
      if (traits.unsupported.includes('signals')) assert.deepEqual(signals, {});
    });

    it('loses nothing the device sent, and works on, when its queues are emptied', async () => {
      await fixture.send(said('said before'));
      for (const queue of ['rx', 'tx', 'both'] as const) await backend.purge(queue);
      await until(() => sink.bytes.equals(said('said before')), 'what was said before');
      assert.equal(backend.write(Buffer.from('after')), 5);
      let got = '';
      await until(() => {
        got += fixture.receive().toString('latin1');
        return got.length >= 5;
      }, 'what was written after');
      assert.equal(got, 'after');
      await backend.close();
      const { calls } = sink;
      await backend.purge('both');
      assert.equal(sink.calls, calls, 'nothing is read from a closed line');
    });

    it('describes itself and what it is to open', () => {
      assert.ok(backend.description.length > 0);
      assert.ok(fixture.opener.target.length > 0);
    });
  });

  describe(`${name} when the device goes away`, () => {
    it('says so exactly once, and is not alive then', async () => {
      for (const isWatched of [false, true]) {
        const fixture = await makeFixture();
        const sink = new RecordingSink();
        const backend = await fixture.opener.open(sink);
        backend.setWatched(isWatched);
        await fixture.send(said('last words'));
        await until(() => sink.bytes.equals(said('last words')), 'last words');
        if (fixture.leave !== null) {
          fixture.leave();
          await until(() => sink.faults.length > 0, 'the backend to notice');
          await sleep(50);
          assert.equal(sink.faults.length, 1);
          assert.equal(sink.faults[0]!.code, 'PORT_GONE');
          assert.equal(backend.isAlive(), false);
        }
        assert.ok(sink.bytes.equals(said('last words')), sink.text);
        await backend.close();
        assert.ok(sink.faults.length <= 1);
        await fixture.dispose();
      }
    });
  });
}

/** For assert.rejects: a Fault of this code. */
export function hasCode(code: FaultCode): (error: unknown) => boolean {
  return (error) => {
    assert.equal((error as { code?: string }).code, code, String(error));
    return true;
  };
}
