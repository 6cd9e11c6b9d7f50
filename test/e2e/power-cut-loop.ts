import { FedStream } from './fed-stream.ts';
import { cutPower, formatPowerCutReport } from './power-cuts.ts';

/** `npm run test:power-cut [-- STATES [SEED]]` */
const states = Number(process.argv[2] ?? 200);
const seed = Number(process.argv[3] ?? Math.floor(Math.random() * 2 ** 32));
const restarts = Math.max(1, Math.floor(states / 20));

const say = (text: string): void => console.error(text);
console.log(
  formatPowerCutReport(await cutPower(states, restarts, { stream: new FedStream(), seed, say })),
);
