/** Less than this says more of the latency than of the link. Bytes on the wire. */
const leastBytes = 1024 * 1024;

/** How much content goes compressed before the link is measured again. Bytes. */
const remeasureBytes = 1024 * 1024 * 1024;

/**
 * How fast a link carries bytes, by what has been sent over it. Only what went as it is tells: of what was compressed or
 * mostly zeros, it may have been the processor that was waited for, and then the link carries at least so much.
 */
export class LinkRate {
  #rate: number | undefined;
  #compressed = 0;

  /** Bytes per second; undefined: not known yet. */
  get rate(): number | undefined {
    return this.#rate;
  }

  /** Whether something should be sent uncompressed, to see whether the link has become faster: no need when a limit holds it anyway. */
  due(limit: number | undefined): boolean {
    return this.#compressed >= remeasureBytes && !(limit !== undefined && this.#rate !== undefined && limit < this.#rate * 1.25);
  }

  /**
   * @param wire bytes that were sent, and `content` what they stand for
   * @param seconds until the other end had taken them
   */
  sent({ wire, content, seconds, compressed }: { wire: number; content: number; seconds: number; compressed: boolean }): void {
    if (compressed) this.#compressed += content;
    if (wire < leastBytes || seconds <= 0) return;
    const measured = wire / seconds;
    if (compressed || wire * 2 < content) {
      if (this.#rate !== undefined) this.#rate = Math.max(this.#rate, measured);
      return;
    }
    this.#compressed = 0;
    this.#rate = this.#rate === undefined ? measured : (this.#rate + measured) / 2;
  }
}
