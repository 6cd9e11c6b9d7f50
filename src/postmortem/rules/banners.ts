/**
 * What a machine prints when it starts, by how far the start has come. Firmware, loader, hypervisor
 * and kernel of one start follow each other: together they are one boot.
 */
export interface BannerRule {
  id: string;
  stage: 1 | 2 | 3 | 4;
  /** Matched within a line, against the bytes as latin1; bounded, without groups. */
  pattern: string;
  /** A line that matches. */
  example: string;
}

export const BANNER_RULES: readonly BannerRule[] = [
  // 1: firmware
  {
    id: 'seabios',
    stage: 1,
    pattern: 'SeaBIOS \\(version ',
    example: 'SeaBIOS (version 1.16.2-1)',
  },
  {
    id: 'coreboot',
    stage: 1,
    pattern: 'coreboot-\\S{1,60} .{0,80}(?:bootblock|verstage|romstage) starting',
    example: 'coreboot-4.19 Sun Jan  1 00:00:00 UTC 2023 bootblock starting (log level: 7)...',
  },
  {
    id: 'edk2',
    stage: 1,
    pattern: 'UEFI [Ff]irmware \\(version ',
    example: 'UEFI firmware (version edk2-stable202302 built at 00:00:00 on Mar 15 2023)',
  },
  {
    id: 'tf-a',
    stage: 1,
    pattern: 'NOTICE:  BL[12]: v\\d',
    example: 'NOTICE:  BL1: v2.8(release):v2.8',
  },
  { id: 'opensbi', stage: 1, pattern: 'OpenSBI v\\d', example: 'OpenSBI v1.2' },
  {
    id: 'esp-rom',
    stage: 1,
    pattern: 'ESP-ROM:esp32|rst:0x[0-9a-f]{1,2} \\([A-Z0-9_]{1,40}\\),boot:0x',
    example: 'rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)',
  },
  {
    id: 'cisco-rommon',
    stage: 1,
    pattern: 'System Bootstrap, Version \\d',
    example: 'System Bootstrap, Version 15.0(1r)M15, RELEASE SOFTWARE (fc1)',
  },
  // 2: boot loaders
  {
    id: 'u-boot',
    stage: 2,
    pattern: 'U-Boot (?:SPL |TPL )?\\d{1,4}\\.\\d',
    example: 'U-Boot 2023.01+dfsg-2 (Mar 04 2023 - 00:00:00 +0000)',
  },
  {
    id: 'ipxe',
    stage: 2,
    pattern: 'iPXE \\d\\S{0,40} -- Open Source Network Boot Firmware',
    example: 'iPXE 1.21.1+git -- Open Source Network Boot Firmware -- https://ipxe.org',
  },
  {
    id: 'grub',
    stage: 2,
    pattern: 'GNU GRUB  version \\d|Welcome to GRUB!',
    example: 'Welcome to GRUB!',
  },
  {
    id: 'openbsd-boot',
    stage: 2,
    pattern: '>> OpenBSD/\\w{1,10} BOOT',
    example: '>> OpenBSD/amd64 BOOT 3.55',
  },
  // 3: hypervisors
  {
    id: 'xen',
    stage: 3,
    pattern: 'Xen version \\d',
    example: '(XEN) Xen version 4.17.0 (Debian 4.17.0-1)',
  },
  // 4: kernels
  {
    id: 'linux',
    stage: 4,
    pattern: 'Linux version \\d',
    example: '[    0.000000] Linux version 6.1.0-13-amd64 (debian-kernel@lists.debian.org)',
  },
  {
    id: 'freebsd',
    stage: 4,
    pattern: '---<<BOOT>>---|FreeBSD is a registered trademark of',
    example: '---<<BOOT>>---',
  },
  {
    id: 'openbsd',
    stage: 4,
    pattern: 'OpenBSD \\d+\\.\\d+\\S{0,20} \\([\\w.]{1,40}\\) #\\d',
    example: 'OpenBSD 7.4 (GENERIC.MP) #1397: Tue Oct 10 09:02:37 MDT 2023',
  },
  {
    id: 'netbsd',
    stage: 4,
    pattern: 'NetBSD \\d\\S{0,20} \\([\\w.]{1,40}\\) #\\d',
    example: 'NetBSD 9.3 (GENERIC) #0: Thu Aug  4 15:30:37 UTC 2022',
  },
  {
    id: 'illumos',
    stage: 4,
    pattern: 'SunOS Release \\d|OpenIndiana \\S{1,20} Version illumos',
    example: 'SunOS Release 5.11 Version illumos-4a38094 64-bit',
  },
  {
    id: 'zephyr',
    stage: 4,
    pattern: '\\*\\*\\* Booting Zephyr OS',
    example: '*** Booting Zephyr OS build zephyr-v3.4.0 ***',
  },
  {
    id: 'cisco-ios',
    stage: 4,
    pattern: 'Cisco IOS Software, .{1,80} Version \\d{1,2}\\.\\d.{0,40}RELEASE SOFTWARE',
    example:
      'Cisco IOS Software, C2900 Software (C2900-M), Version 15.1(4)M4, RELEASE SOFTWARE (fc1)',
  },
];

/** Longest banner: how much of the text after a cut may belong to one before it. */
export const BANNER_CHARS_MAX = 256;

const ANY_BANNER = new RegExp(BANNER_RULES.map((rule) => `(${rule.pattern})`).join('|'), 'g');

/** Every start banner in a text, in order. */
export function findBanners(text: string): { index: number; rule: BannerRule }[] {
  return Array.from(text.matchAll(ANY_BANNER), (match) => ({
    index: match.index,
    rule: BANNER_RULES[match.slice(1).findIndex((group) => group !== undefined)]!,
  }));
}
