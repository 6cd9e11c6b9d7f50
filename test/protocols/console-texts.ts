import { deflateSync } from 'node:zlib';

/** What consoles say, and other things that go over a healthy line, by name. */
export interface Corpus {
  name: string;
  bytes: Uint8Array;
}

const BYTES = 6000;

/** From 0 to below 1, the same ones for the same seed. */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 69_069) + 1) >>> 0;
    return ((state >>> 8) % 65_536) / 65_536;
  };
}

const boot = `U-Boot 2023.01 (Mar 03 2023 - 10:11:12 +0000)\r
\r
CPU:   ARMv7 rev 4 (v7l) at 996 MHz\r
DRAM:  512 MiB\r
MMC:   mmc@2190000: 0, mmc@2194000: 1\r
Hit any key to stop autoboot:  3 \b\b\b 2 \b\b\b 1 \b\b\b 0 \r
## Booting kernel from Legacy Image at 82000000 ...\r
   Image Type:   ARM Linux Kernel Image (uncompressed)\r
   Verifying Checksum ... OK\r
[    0.000000] Booting Linux on physical CPU 0x0\r
[    0.412345] Memory: 1012344K/1048576K available (8192K kernel code, 512K rwdata)\r
[    1.523456] random: crng init done\r
[    2.001122] EXT4-fs (mmcblk0p2): mounted filesystem with ordered data mode. Opts: (null)\r
[    9.876543] Unable to handle kernel NULL pointer dereference at virtual address 00000008\r
[    9.876999] PC is at frob_widget+0x24/0x80 [widget]\r
`;
const prompts = `\r
imx login: root\r
Password: \r
Last login: Sun Mar  5 12:00:01 UTC 2023 on ttymxc0\r
root@imx:~# uptime\r
 12:00:07 up 4 min,  1 user,  load average: 0.31, 0.12, 0.05\r
root@imx:~# cat /proc/interrupts | head -3\r
           CPU0       CPU1\r
 16:      23154      20013       GIC  29 Edge      twd\r
root@imx:~# exit\r
logout\r
`;
const router = `\r
edge-3>enable\r
edge-3#show ip interface brief\r
Interface                  IP-Address      OK? Method Status                Protocol\r
FastEthernet0/0            192.0.2.1       YES NVRAM  up                    up\r
FastEthernet0/1            unassigned      YES NVRAM  administratively down down\r
edge-3#\r
*Mar  1 00:01:22.335: %LINK-3-UPDOWN: Interface FastEthernet0/1, changed state to down\r
*Mar  1 00:01:23.335: %SYS-5-CONFIG_I: Configured from console by vty0 (192.0.2.77)\r
`;
const menu =
  '\x1b[2J\x1b[1;1H\x1b[37;44m   Setup Utility - Main   \x1b[0m' +
  '\x1b[3;5H\x1b[1;37mSystem Time\x1b[3;30H[\x1b[33m14\x1b[37m:22:07]' +
  '\x1b[4;5HProcessor Type\x1b[4;30HSomething(R) at 2.40GHz' +
  '\x1b[20;2H\x1b[7m F1 \x1b[0m Help \x1b[7m F10 \x1b[0m Save and Exit\x1b[24;80H';
const scripts =
  'Добро пожаловать! Введите имя пользователя и пароль.\r\nОшибка: устройство не найдено\r\n' +
  '設定を保存しました。再起動してください。\r\n请输入用户名和密码，然后按回车键\r\n' +
  'Καλώς ήρθατε στο σύστημα\r\nمرحبا بك في النظام\r\nÜber größere Straßen fährt der Zug, äöüß\r\n' +
  '┌──────────────┐\r\n│ ░▒▓█ 42 % ok │\r\n└──────────────┘\r\n';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Again and again, with numbers in between so that no two are the same. */
function much(part: string): Uint8Array {
  let text = '';
  for (let index = 0; text.length < BYTES; index++) text += `${part}[${index * 7919}] `;
  return encode(text).subarray(0, BYTES);
}

/** What can be read as ASCII text. */
export const asciiTexts: readonly Corpus[] = [
  { name: 'boot', bytes: much(boot) },
  { name: 'shell', bytes: much(prompts) },
  { name: 'router', bytes: much(router) },
  { name: 'menu', bytes: much(menu) },
];

export const texts: readonly Corpus[] = [...asciiTexts, { name: 'scripts', bytes: much(scripts) }];

const random = randomNumbers(42);
const noise = Uint8Array.from({ length: BYTES }, () => Math.floor(random() * 256));
const bootBytes = much(boot);

/** No text, but what a healthy line may carry. */
export const binaries: readonly Corpus[] = [
  { name: 'random', bytes: noise },
  { name: 'compressed', bytes: deflateSync(much(boot + router + scripts + noise.join())) },
  { name: 'xmodem of text', bytes: xmodem(bootBytes) },
  { name: 'xmodem of noise', bytes: xmodem(noise) },
  { name: 'top bit of all', bytes: bootBytes.map((byte) => byte | 0x80) },
  {
    name: 'top bit of lines',
    bytes: bootBytes.map((byte, at) => (Math.floor(at / 90) % 2 === 0 ? byte : byte | 0x80)),
  },
  {
    name: 'top bit of some',
    bytes: bootBytes.map((byte) => (random() < 0.4 ? byte | 0x80 : byte)),
  },
  ...[0x00, 0xff, 0x55, 0x80, 0x7f, 0x41].map((byte) => ({
    name: `0x${byte.toString(16)} only`,
    bytes: new Uint8Array(BYTES).fill(byte),
  })),
  {
    name: 'NULs in text',
    bytes: Uint8Array.from({ length: BYTES }, (_, at) =>
      at % 700 < 400 ? 0 : (bootBytes[at] ?? 0),
    ),
  },
  {
    name: 'few values of even parity',
    bytes: Uint8Array.from({ length: BYTES }, () => [0x41, 0x42, 0xc3, 0xc5][(random() * 4) | 0]!),
  },
  { name: 'counter', bytes: Uint8Array.from({ length: BYTES }, (_, at) => at & 0xff) },
  {
    name: 'pixels',
    bytes: Uint8Array.from({ length: BYTES }, () => [0x00, 0xff, 0xf0, 0x0f][(random() * 4) | 0]!),
  },
];

/** Blocks of 128 bytes with their number, its complement and a sum. */
function xmodem(data: Uint8Array): Uint8Array {
  const blocks: number[] = [];
  for (let number = 1; number * 128 <= data.length; number++) {
    const block = data.subarray((number - 1) * 128, number * 128);
    const sum = block.reduce((total, byte) => (total + byte) & 0xff, 0);
    blocks.push(0x01, number & 0xff, ~number & 0xff, ...block, sum);
  }
  return Uint8Array.from(blocks);
}
