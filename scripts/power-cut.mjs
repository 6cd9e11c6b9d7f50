/** `npm run test:power-cut [-- STATES [SEED]]`: installs and builds if need be, then cuts the power. */
import { join } from 'node:path';
import { prepare, root, run } from './prepare.mjs';

prepare();
const loop = join(root, 'dist', 'test', 'e2e', 'power-cut-loop.js');
process.exitCode = run(process.execPath, [loop, ...process.argv.slice(2)]) ? 0 : 1;
