import type { Backend, BackendSink, LinePart, SharedLine } from '../../core/backend.ts';
import { Fault } from '../../core/fault.ts';
import type { SplitSettings } from '../../core/settings.ts';
import { putHalf, takeHalf } from '../../protocols/split-half.ts';
import type { Half } from '../../protocols/split-half.ts';
import type { OpenerFactory } from '../services.ts';
import type { GdbLines, PartBytes } from './gdb-line.ts';

/** A line that is down because of one that is down because of another: enough of it to see why. */
const WHY_CHARS_MAX = 500;

/** Of what is written to a half: no more is turned into its bytes than the line may take. */
const PIECE_BYTES = 4_096;

const PART_NAMES: Readonly<Record<SplitSettings['part'], string>> = {
  high: 'high half',
  low: 'low half',
  gdb: 'gdb packets',
  console: 'console',
};

/**
 * A part of another port's line: bytes with the top bit set or clear, or gdb's packets and what is
 * left of it without them. Up while that port is. BREAKs and line errors are of all parts.
 */
export const splitOpener: OpenerFactory<'split'> = (settings, { of, part }, services) => {
  const target = `${PART_NAMES[part]} of ${of}`;
  const join = (listener: LinePart): SharedLine => services.lines.join(of, settings.name, listener);
  return {
    kind: 'split',
    target,
    line: null, // the UART is the other port's
    async open(sink) {
      try {
        return await openPart(join, target, sink, bytesOf(part, of, sink, services.gdbLines));
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        throw new Fault('PORT_OPEN_FAILED', error.message.slice(0, WHY_CHARS_MAX), error);
      }
    },
    watchReturn(returned) {
      try {
        const line = join({ ...DEAF, up: returned });
        return () => line.leave();
      } catch {
        return () => undefined; // no such port now: asked again with each try
      }
    },
  };
};

const DEAF: LinePart = {
  rx: () => undefined,
  event: () => undefined,
  up: () => undefined,
  down: () => undefined,
  writable: () => undefined,
};

/** @throws Fault PORT_DOWN, PORT_UNKNOWN. */
async function openPart(
  join: (listener: LinePart) => SharedLine,
  description: string,
  sink: BackendSink,
  bytesOfPart: PartBytes,
): Promise<Backend> {
  let isOpening = true;
  let isOpen = true;
  let whyDown: string | null = null;
  let settle!: () => void;
  const settled = new Promise<void>((resolve) => (settle = resolve));
  const end = (): void => {
    isOpen = false;
    line.leave();
    bytesOfPart.close();
  };
  const line = joined(join, bytesOfPart, {
    rx: (bytes) => bytesOfPart.rx(bytes),
    event: (event) => bytesOfPart.event(event),
    up: () => settle(),
    writable: () => bytesOfPart.writable(),
    down(why) {
      if (!isOpen) return;
      whyDown = why;
      end();
      settle();
      if (!isOpening) sink.gone(new Fault('PORT_GONE', why.slice(0, WHY_CHARS_MAX)));
    },
  });
  // Ports are opened all at once: a part is not down because its line takes a moment.
  if (line.isOpening) await settled;
  isOpening = false;
  whyDown ??= line.whyDown;
  if (whyDown !== null) {
    if (isOpen) end();
    throw new Fault('PORT_DOWN', whyDown);
  }
  return {
    description,
    write: (bytes) => (isOpen ? bytesOfPart.write(bytes, line) : 0),
    setWatched: (watched) => line.setWatched(watched),
    setLine: (settings, flow) => line.setLine(settings, flow),
    setSignals: (signals) => line.setSignals(signals),
    sendBreak: (durationMs) => line.sendBreak(durationMs),
    setBreak: (isOn) => line.setBreak(isOn),
    purge: () => Promise.resolve(), // the queues are of all parts
    signals: () => line.signals(),
    isAlive: () => isOpen && line.whyDown === null,
    close() {
      if (isOpen) end();
      return Promise.resolve();
    },
  };
}

/** @throws Fault PORT_UNKNOWN. */
function joined(
  join: (listener: LinePart) => SharedLine,
  bytesOfPart: PartBytes,
  listener: LinePart,
): SharedLine {
  try {
    return join(listener);
  } catch (error) {
    bytesOfPart.close();
    throw error;
  }
}

/** @throws Fault PORT_UNKNOWN. */
function bytesOf(
  part: SplitSettings['part'],
  of: string,
  sink: BackendSink,
  gdbLines: GdbLines,
): PartBytes {
  return part === 'gdb' || part === 'console' ? gdbLines.take(of, part, sink) : half(part, sink);
}

function half(which: Half, sink: BackendSink): PartBytes {
  return {
    rx(bytes) {
      const own = takeHalf(bytes, which);
      if (own.length > 0) sink.rx(own);
    },
    event: (event) => sink.event(event),
    write(bytes, line) {
      let takenBytes = 0;
      while (takenBytes < bytes.length) {
        const piece = putHalf(bytes.subarray(takenBytes, takenBytes + PIECE_BYTES), which);
        const count = line.write(piece);
        takenBytes += count;
        if (count < piece.length) break;
      }
      return takenBytes;
    },
    writable: () => sink.writable(),
    close: () => undefined,
  };
}
