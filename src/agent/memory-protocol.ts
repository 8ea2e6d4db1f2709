import type { AgentTls } from './mutual-tls.ts';

/** What the agent and the thread that takes memory in say to each other. */

/** From the agent. */
export type ToMemoryThread =
  /** The certificate was renewed. */
  | { type: 'tls'; tls: AgentTls }
  /** The answer to `open`: the directory of the blob store that this repository is taken into; left out: none. */
  | { type: 'directory'; id: number; path?: string }
  | { type: 'close' };

/** From the thread. */
export type FromMemoryThread =
  | { type: 'listening' }
  | { type: 'open'; id: number; repository: string }
  | { type: 'failed'; message: string; path: string };

export interface MemoryThreadData {
  port: number;
  tls: AgentTls;
}
