/** What the command line's options may be; apart, so that the processes of the cluster load nothing else of this folder. */

export const triggerWords = { eviction: 'Eviction', node: 'Node' } as const;

export const formats = ['table', 'json', 'yaml', 'name'] as const;
export type Format = (typeof formats)[number];
