import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
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
import { basename, join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { CACHE, PROJECT } from '../../support/project.ts';

/** What a Linux guest boots from. */
export interface LinuxImage {
  kernel: string;
  initramfs: string;
}

export const GUEST_LOGIN = { user: 'root', password: 'fairlead' } as const;

const INIT = join(PROJECT, 'test/e2e/guest/init');
const APPLIANCE_INIT = join(PROJECT, 'test/e2e/guest/appliance-init');
/** Goes up when what is made here changes in a way that its inputs do not show. */
const RECIPE = 1;

/**
 * Makes a minimal Linux guest of Debian's own kernel and its static busybox: 70 MB are downloaded
 * the first time (apt-get download, nothing is installed), then it is taken from .cache/.
 */
export function linuxImage(): LinuxImage {
  const hash = createHash('sha256').update(readFileSync(INIT));
  hash.update(JSON.stringify([GUEST_LOGIN, NETWORK_MODULES]));
  const directory = madeOnce(`image-${RECIPE}-${hash.digest('hex').slice(0, 12)}`, (made, work) => {
    const kernel = unpack(kernelPackage(), work);
    const busybox = join(unpack('busybox-static', work), 'bin/busybox');
    const boot = join(kernel, 'boot');
    const vmlinuz = readdirSync(boot).find((name) => name.startsWith('vmlinuz-'));
    if (vmlinuz === undefined) throw new Error(`no kernel in ${kernel}`);
    copyFileSync(join(boot, vmlinuz), join(made, 'vmlinuz'));
    const root = join(work, 'root');
    copyModules(kernel, NETWORK_MODULES, join(root, 'modules'));
    writeFileSync(join(made, 'initramfs.gz'), initramfs(busybox, root));
  });
  return { kernel: join(directory, 'vmlinuz'), initramfs: join(directory, 'initramfs.gz') };
}

/** For `guest.netconsole=`. */
const NETWORK_MODULES = ['e1000', 'netconsole'];

/**
 * What the appliance guest boots from: the same kernel with the modules its hardware needs, and udev,
 * which a machine that builds containers has not; all else is taken from the machine's own root.
 * `xen`: also what a dom0 has, to make guests of its own.
 */
export function applianceImage(xen?: 'xen'): LinuxImage {
  const modules = [...APPLIANCE_MODULES, ...(xen ? XEN_MODULES : [])];
  const packages = [...APPLIANCE_PACKAGES, ...(xen ? xenTools() : [])];
  const hash = createHash('sha256').update(readFileSync(APPLIANCE_INIT));
  hash.update(JSON.stringify([modules, packages]));
  const name = `appliance-${RECIPE}-${hash.digest('hex').slice(0, 12)}`;
  const directory = madeOnce(name, (made, work) => {
    const kernel = unpack(kernelPackage(), work);
    const vmlinuz = readdirSync(join(kernel, 'boot')).find((file) => file.startsWith('vmlinuz-'));
    if (vmlinuz === undefined) throw new Error(`no kernel in ${kernel}`);
    copyFileSync(join(kernel, 'boot', vmlinuz), join(made, 'vmlinuz'));
    const busybox = join(unpack('busybox-static', work), 'bin/busybox');
    const root = join(work, 'root');
    mkdirSync(join(root, 'bin'), { recursive: true });
    copyFileSync(busybox, join(root, 'bin/busybox'));
    symlinkSync('busybox', join(root, 'bin/sh'));
    copyFileSync(APPLIANCE_INIT, join(root, 'init'));
    copyModules(kernel, modules, join(root, 'modules'));
    for (const added of packages) addPackage(unpack(added, work), join(root, 'added'));
    writeFileSync(join(made, 'initramfs.gz'), archive(busybox, root));
  });
  return { kernel: join(directory, 'vmlinuz'), initramfs: join(directory, 'initramfs.gz') };
}

/**
 * Archives the build and the packages it runs with, without what only compilers read, as they lie in
 * the project: a guest that unpacks it into memory starts Node many times quicker than over 9p, where
 * each look at a file waits for QEMU's turn on a busy machine.
 */
export function packBuild(target: string, directories: readonly string[]): void {
  const lock = JSON.parse(readFileSync(join(PROJECT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean }>;
  };
  const packages = Object.entries(lock.packages)
    .filter(([path, { dev }]) => path !== '' && !dev && existsSync(join(PROJECT, path)))
    .map(([path]) => path);
  const skipped = ['map', 'ts', 'mts', 'cts', 'c', 'h', 'cc', 'cpp', 'a', 'md'];
  execFileSync('tar', [
    ...['-C', PROJECT, '-cf', target, '--hard-dereference'],
    ...skipped.map((extension) => `--exclude=*.${extension}`),
    ...['package.json', 'migrations', ...packages, ...directories],
  ]);
}

/** In the order they are loaded; what they need comes before them. */
const APPLIANCE_MODULES = [
  ...['virtio_pci', '9pnet_virtio', '9p', 'overlay', 'virtio_net', 'virtio_blk'],
  ...['xhci_pci', 'usbmon', 'ftdi_sio', 'cdc_acm'],
  ...['dummy_hcd', 'usb_f_acm', 'g_serial', 'vhci_hcd'],
];
const APPLIANCE_PACKAGES = ['udev', 'libudev1', 'libkmod2'];

const XEN_MODULES = ['xenfs', 'xen_privcmd', 'xen_evtchn', 'xen_gntdev', 'xen_gntalloc'];

/** Xen's programs for a dom0, of the version of its hypervisor, and the libraries they need. */
function xenTools(): string[] {
  const version = xenPackage().split('-')[2]!;
  return [
    ...[`xen-utils-${version}`, 'xenstore-utils', `libxenmisc${version}`, 'libxenstore4'],
    ...['libxencall1', 'libxenevtchn1', 'libxenforeignmemory1', 'libxengnttab1', 'libxentoollog1'],
    ...['libxentoolcore1', 'libxendevicemodel1', 'libxenhypfs1', 'libyajl2'],
  ];
}

/** Copies kernel modules and all they need, and writes `order`: the files as they are to be loaded. */
function copyModules(kernel: string, names: readonly string[], target: string): void {
  mkdirSync(target, { recursive: true });
  const files = new Map<string, string>();
  for (const path of readdirSync(kernel, { recursive: true, encoding: 'utf8' })) {
    if (path.endsWith('.ko')) files.set(moduleName(path), join(kernel, path));
  }
  const order: string[] = [];
  function add(name: string): void {
    const file = files.get(name);
    if (file === undefined) throw new Error(`the kernel has no module ${name}`);
    if (order.includes(basename(file))) return;
    // Every module says itself what it needs; what the kernel has built in is not named there.
    const needs = /\0depends=([^\0]*)\0/.exec(readFileSync(file, 'latin1'))?.[1] ?? '';
    for (const needed of needs.split(',')) if (needed !== '') add(moduleName(needed));
    copyFileSync(file, join(target, basename(file)));
    order.push(basename(file));
  }
  names.forEach(add);
  writeFileSync(join(target, 'order'), order.map((file) => `${file}\n`).join(''));
}

/** `kernel/fs/9p/9p.ko`, `xhci-pci`: a module's name has no hyphens, its file may. */
function moduleName(path: string): string {
  return basename(path, '.ko').replaceAll('-', '_');
}

/** Programs, rules and libraries of an unpacked package, on a system whose /bin and /lib are in /usr. */
function addPackage(unpacked: string, target: string): void {
  for (const directory of ['bin', 'lib', 'usr/bin', 'usr/lib']) {
    const from = join(unpacked, directory);
    if (!existsSync(from)) continue;
    const to = join(target, directory.startsWith('usr/') ? directory : `usr/${directory}`);
    cpSync(from, to, { recursive: true, verbatimSymlinks: true });
  }
  rmSync(join(target, 'usr/lib/udev/hwdb.d'), { recursive: true, force: true }); // 12 MB of names
  const ofXen = join(target, 'usr/lib');
  for (const name of readdirSync(ofXen).filter((name) => name.startsWith('xen-'))) {
    rmSync(join(ofXen, name, 'boot'), { recursive: true, force: true }); // firmware of other guests
  }
}

/** Debian's Xen, unpacked as QEMU's multiboot loader wants it, and the Linux guest as its dom0. */
export function xenImage(): LinuxImage & { hypervisor: string } {
  const directory = madeOnce(`xen-${RECIPE}`, (made, work) => {
    const boot = join(unpack(xenPackage(), work), 'boot');
    const image = readdirSync(boot).find((name) => /^xen-4.*-amd64\.gz$/.test(name));
    if (image === undefined) throw new Error(`no hypervisor in ${boot}`);
    writeFileSync(join(made, 'xen'), gunzipSync(readFileSync(join(boot, image))));
  });
  return { hypervisor: join(directory, 'xen'), ...linuxImage() };
}

/** Path of a CD whose boot loader, GRUB, draws its menu on the serial line and waits. */
export function grubImage(): string {
  const hash = createHash('sha256').update(GRUB_CONFIG).digest('hex').slice(0, 12);
  const directory = madeOnce(`grub-${RECIPE}-${hash}`, (made, work) => {
    const tree = join(work, 'cd');
    mkdirSync(join(tree, 'boot/grub'), { recursive: true });
    writeFileSync(join(tree, 'boot/grub/grub.cfg'), GRUB_CONFIG);
    execFileSync('grub-mkrescue', ['-o', join(made, 'grub.iso'), tree], { stdio: 'pipe' });
  });
  return join(directory, 'grub.iso');
}

export const GRUB_ENTRIES = ['First kernel', 'Second kernel', 'Third kernel'] as const;

const GRUB_CONFIG = `serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1
terminal_input serial
terminal_output serial
set timeout=-1
set default=0
${GRUB_ENTRIES.map((title) => `menuentry '${title}' { echo 'booting: ${title}'; sleep 1000 }`).join('\n')}
`;

/** A directory of the cache, made whole or not at all. */
function madeOnce(name: string, make: (made: string, work: string) => void): string {
  const base = join(CACHE, 'guest');
  const directory = join(base, name);
  if (existsSync(directory)) return directory;
  mkdirSync(base, { recursive: true });
  const work = mkdtempSync(join(base, 'making-'));
  try {
    const made = join(work, 'made');
    mkdirSync(made);
    make(made, work);
    renameSync(made, directory);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return directory;
}

/** The newest hypervisor Debian has. */
function xenPackage(): string {
  const names = execFileSync(
    'apt-cache',
    ['search', '--names-only', '^xen-hypervisor-4\\.[0-9]+-amd64$'],
    { encoding: 'utf8' },
  );
  const minor = (name: string): number => Number(/-4\.(\d+)-/.exec(name)?.[1]);
  const found = names
    .split('\n')
    .map((line) => line.split(' ')[0]!)
    .filter((name) => name !== '')
    .sort((a, b) => minor(a) - minor(b))
    .at(-1);
  if (found === undefined) throw new Error('apt knows no xen-hypervisor-4.*-amd64');
  return found;
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

/** A root file system of busybox, our init, and one user. */
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
  return archive(busybox, root);
}

/** A root file system as the kernel unpacks it. busybox makes the archive itself. */
function archive(busybox: string, root: string): Buffer {
  execFileSync('chmod', ['755', join(root, 'init'), join(root, 'bin/busybox')]);
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
  return gzipSync(
    execFileSync(busybox, ['cpio', '-o', '-H', 'newc', '-R', '0:0'], {
      cwd: root,
      input: `${names.join('\n')}\n`,
      stdio: ['pipe', 'pipe', 'ignore'],
      maxBuffer: 256 * 1024 * 1024,
    }),
  );
}
