/** What nodes take for their work; that of small pods on the lab's nodes (facts measured there). Milliseconds. */
export interface Timings {
  /** From the binding of a pod to its containers running. */
  start: number;
  /** A checkpoint of all containers. */
  checkpoint: number;
  /** From the checkpoint's end until it lies on the destination. */
  ship: number;
  /** From the binding of a target pod to its processes going on. */
  restore: number;
}

export const timings: Timings = { start: 400, checkpoint: 500, ship: 300, restore: 600 };
