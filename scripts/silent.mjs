/** `npm run test:silent [-- COUNT]`: installs and builds if need be, then floods a daemon's doors. */
import { join } from 'node:path';
import { prepare, root, run } from './prepare.mjs';

prepare();
const loop = join(root, 'dist', 'test', 'e2e', 'silent-loop.js');
process.exitCode = run(process.execPath, [loop, ...process.argv.slice(2)]) ? 0 : 1;
