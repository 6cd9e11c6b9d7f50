/** `npm run test:kill [-- COUNT]`: installs and builds if need be, then kills a daemon under load. */
import { join } from 'node:path';
import { prepare, root, run } from './prepare.mjs';

prepare();
const loop = join(root, 'dist', 'test', 'e2e', 'kill-loop.js');
process.exitCode = run(process.execPath, [loop, ...process.argv.slice(2)]) ? 0 : 1;
