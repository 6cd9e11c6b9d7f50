import type { Verb } from './verb.ts';

/** `fairlead help`: the verbs, one line each. Over SSH only those that work there. */
export function overview(verbs: readonly Verb[], isLocal: boolean): string {
  const shown = verbs.filter((verb) => isLocal || verb.where === 'anywhere');
  const width = Math.max(...shown.map((verb) => verb.name.length));
  const lines = shown.map((verb) => `  ${verb.name.padEnd(width)}  ${verb.summary}`);
  return [
    'Usage: fairlead VERB ...',
    '',
    ...lines,
    '',
    '"fairlead help VERB" tells more of each.',
    '',
  ].join('\n');
}

/** docs/verbs.md, whole. */
export function verbsMarkdown(verbs: readonly Verb[]): string {
  const lines = [
    '# Verbs',
    '',
    'Made by `fairlead help --markdown`; do not edit.',
    '',
    'The same words work in the shell (`fairlead VERB`) and over SSH (`ssh -t user@host VERB`), but',
    'for those that name a file of the server, or start or change the daemon: these work in the',
    "server's own shell only. In the shell every verb also takes `--config FILE` and `--data DIR`.",
    '',
    '| verb | does | right | where | needs the daemon |',
    '| --- | --- | --- | --- | --- |',
    ...verbs.map(
      (verb) =>
        `| [\`${verb.name}\`](#${verb.name}) | ${cell(verb.summary)} | ${verb.right ?? ''} | ${verb.where} | ${verb.needsDaemon ? 'yes' : ''} |`,
    ),
    '',
  ];
  for (const verb of verbs) {
    lines.push(
      `## ${verb.name}`,
      '',
      '```',
      `fairlead ${`${verb.name} ${verb.usage}`.trim()}`,
      '```',
      '',
    );
    lines.push(`${verb.summary[0]!.toUpperCase()}${verb.summary.slice(1)}.`, '');
    if (verb.options.length > 0) {
      lines.push('| option | does |', '| --- | --- |');
      for (const { flags, does } of verb.options)
        lines.push(`| \`${cell(flags)}\` | ${cell(does)} |`);
      lines.push('');
    }
    if (verb.details) lines.push(...verb.details.map((line) => line.trim()), '');
    for (const { command, does } of verb.examples) lines.push(`- \`${command}\`: ${does}`);
    lines.push('');
  }
  return `${lines.join('\n').trimEnd()}\n`;
}

function cell(markdown: string): string {
  return markdown.replaceAll('|', '\\|');
}
