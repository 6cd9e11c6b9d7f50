import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { CACHE, PROJECT } from '../../support/project.ts';

/** What a guest boots from. */
export interface GuestImage {
  kernel: string;
  initramfs: string;
}

export const GUEST_LOGIN = { user: 'root', password: 'fairlead' } as const;

const INIT = join(PROJECT, 'test/e2e/guest/init');
/** Goes up when what is made here changes in a way that its inputs do not show. */
const RECIPE = 1;

/**
 * Makes a minimal Linux guest of Debian's own kernel and its static busybox: 70 MB are downloaded
 * the first time (apt-get download, nothing is installed), then it is taken from .cache/.
 */
export function guestImage(): GuestImage {
  const base = join(CACHE, 'guest');
  const hash = createHash('sha256').update(readFileSync(INIT)).update(JSON.stringify(GUEST_LOGIN));
  const directory = join(base, `image-${RECIPE}-${hash.digest('hex').slice(0, 12)}`);
  const image = { kernel: join(directory, 'vmlinuz'), initramfs: join(directory, 'initramfs.gz') };
  if (existsSync(directory)) return image;

  mkdirSync(base, { recursive: true });
  const work = mkdtempSync(join(base, 'making-'));
  try {
    const kernel = unpack(kernelPackage(), work);
    const busybox = join(unpack('busybox-static', work), 'bin/busybox');
    const boot = join(kernel, 'boot');
    const vmlinuz = readdirSync(boot).find((name) => name.startsWith('vmlinuz-'));
    if (vmlinuz === undefined) throw new Error(`no kernel in ${kernel}`);

    const made = join(work, 'image');
    mkdirSync(made);
    copyFileSync(join(boot, vmlinuz), join(made, 'vmlinuz'));
    writeFileSync(join(made, 'initramfs.gz'), initramfs(busybox, join(work, 'root')));
    renameSync(made, directory);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return image;
}

/** The name of Debian's current kernel package: what `linux-image-amd64` depends on. */
function kernelPackage(): string {
  const depends = execFileSync('apt-cache', ['depends', 'linux-image-amd64'], { encoding: 'utf8' });
  const found = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (found === undefined) {
    throw new Error('apt knows no linux-image-amd64; run apt-get update (as .ci/run does)');
  }
  return found;
}

/** Downloads a package unless it lies in the cache already, and unpacks it. Returns where. */
function unpack(name: string, work: string): string {
  const debs = join(CACHE, 'guest', 'debs');
  mkdirSync(debs, { recursive: true });
  const find = (): string | undefined =>
    readdirSync(debs).find((file) => file.startsWith(`${name}_`) && file.endsWith('.deb'));
  if (find() === undefined) {
    execFileSync('apt-get', ['-qq', 'download', name], { cwd: debs, stdio: 'ignore' });
  }
  const target = join(work, name);
  execFileSync('dpkg-deb', ['-x', join(debs, find()!), target]);
  return target;
}

/** A root file system of busybox, our init, and one user. busybox makes the archive itself. */
function initramfs(busybox: string, root: string): Buffer {
  for (const directory of ['bin', 'etc', 'dev', 'root']) {
    mkdirSync(join(root, directory), { recursive: true });
  }
  copyFileSync(busybox, join(root, 'bin/busybox'));
  symlinkSync('busybox', join(root, 'bin/sh'));
  copyFileSync(INIT, join(root, 'init'));
  const { user, password } = GUEST_LOGIN;
  const hash = execFileSync(busybox, ['mkpasswd', '-m', 'sha512', '-S', 'guest', password], {
    encoding: 'utf8',
  }).trim();
  const files: Record<string, string> = {
    passwd: `${user}:x:0:0:${user}:/root:/bin/sh\n`,
    group: `${user}:x:0:\n`,
    shadow: `${user}:${hash}:19000:0:99999:7:::\n`,
    issue: 'Test guest \\n \\l\n\n',
    profile: "export PATH=/sbin:/bin:/usr/sbin:/usr/bin PS1='\\u@\\h:\\w# '\n",
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, 'etc', name), text);
  execFileSync('chmod', ['755', join(root, 'init'), join(root, 'bin/busybox')]);
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
  return gzipSync(
    execFileSync(busybox, ['cpio', '-o', '-H', 'newc', '-R', '0:0'], {
      cwd: root,
      input: `${names.join('\n')}\n`,
      stdio: ['pipe', 'pipe', 'ignore'],
      maxBuffer: 64 * 1024 * 1024,
    }),
  );
}
