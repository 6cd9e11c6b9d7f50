import { FedStream } from './fed-stream.ts';
import { FLAT_OUT, formatKillReport, killAgainAndAgain, PACED } from './kills.ts';

/** `npm run test:kill [-- COUNT]`: so many kills, half of them paced, half flat out. */
const count = Number(process.argv[2] ?? 100);
const stream = new FedStream();
/** The log is copied for each look at it, and it grows. */
const LOOK_AT_REST_EVERY = 10;

for (const [load, kills] of [
  [PACED, Math.ceil(count / 2)],
  [FLAT_OUT, Math.floor(count / 2)],
] as const) {
  const report = await killAgainAndAgain(load, kills, {
    stream,
    lookAtRestEvery: LOOK_AT_REST_EVERY,
    say: (text) => console.error(`${load.name}: ${text}`),
  });
  console.log(formatKillReport(load, report));
}
