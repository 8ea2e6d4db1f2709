import { type CriuMessage, criuMessages } from './criu-messages.ts';

/** Errors of one log that are told. */
const mostErrors = 4;

/** Errors that stand in the log of a dump or restore that succeeded, too; warnings are of the same kind. */
const harmless = [/rlimit: Can't setup RLIMIT_NOFILE for self/, /\bWarn\s*[(:]/];

/** Errors that say that something failed, after another has said why. */
const aftermath = [
  /(Dumping|Restoring) FAILED/,
  /\w+ \(pid: \d+\) failed with/,
  /Can't infect \(pid: \d+\) with parasite/,
  /Unable to open fd=\d+ id=/,
  /cr-restore\.c:\d+\): \d+ (exited|killed)/,
];

/**
 * The lines of what CRIU said that are worth telling, without their timestamps. What CRIU calls an error need not be
 * one, and one cause makes several lines.
 *
 * @param message lines, or what was one line each joined by `; `
 */
export function tellingLines(message: string): string[] {
  const lines = message
    .split(/\s*\n\s*|; /)
    .map((line) => line.trim().replace(/^(CRIU: )?\(\d+\.\d+\)\s*(\d+: )?/, '$1'))
    .filter((line) => line && !harmless.some((pattern) => pattern.test(line)));
  const causes = lines.filter((line) => !aftermath.some((pattern) => pattern.test(line)));
  // With nothing of CRIU left, what came after is better than nothing.
  return causes.some((line) => /Error\b/.test(line)) ? causes : lines;
}

/** What a log of CRIU says of a failure, in a line: its first errors. Empty when it says nothing of one. */
export function failureIn(log: string): string {
  return tellingLines(log)
    .filter((line) => /Error\b/.test(line))
    .slice(0, mostErrors)
    .join('; ');
}

/** Whether a line has the words of this message. */
export function saysSo(message: CriuMessage, line: string): boolean {
  return message.says.some((words) => {
    let from = 0;
    return words.split('…').every((part) => {
      const at = line.indexOf(part.trim(), from);
      from = at + part.trim().length;
      return at >= 0;
    });
  });
}

/**
 * Cause and cure of what CRIU said, each in a sentence; a message that is not known is quoted. Of several lines the first
 * that is known counts: CRIU tells the cause first.
 */
export function explainCriu(message: string): string {
  const lines = tellingLines(message);
  for (const line of lines) {
    const known = criuMessages.find((candidate) => saysSo(candidate, line));
    if (known) return `${known.cause}; to cure it, ${known.cure}`;
  }
  // Conditions and events are one line for those who list them.
  return (lines.length ? lines : [message.trim()]).join('; ');
}
