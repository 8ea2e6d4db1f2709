import type { KubeClient } from './client.ts';
import { sleep } from './deadline.ts';
import { KubeError } from './errors.ts';
import { type Lease, leases } from './resources.ts';
import { microTime } from './time.ts';

export interface LeaderElectionOptions {
  namespace: string;
  /** Name of the Lease. */
  name: string;
  /** Who this is; unique, e.g. the pod's name and a random part. */
  identity: string;
  /** A lease that was not seen to be renewed for this long may be taken. Milliseconds, default 15,000 (client-go). */
  leaseDuration?: number;
  /** A leader that could not renew for this long stops leading. Less than the lease duration. Milliseconds, default 10,000. */
  renewDeadline?: number;
  /** Between two tries to get or renew the lease. Milliseconds, default 2,000. */
  retryPeriod?: number;
  /** Told of failed tries; election goes on. */
  onError?: (error: unknown) => void;
  /** Told when the holder changes, `undefined` when there is none. */
  onHolder?: (identity: string | undefined) => void;
}

/** What another holder's lease looked like, and when we first saw it look so: no clock but our own monotonic one counts. */
interface Sighting {
  text: string;
  at: number;
}

/**
 * One leader among several by a Lease, in the protocol of client-go's leaderelection (the two may compete for one Lease).
 *
 * A leader gives up `renewDeadline` after it last began a renewal that succeeded; others wait `leaseDuration` after they
 * last saw it renewed. The first is the shorter, so a leader's signal has aborted before another can lead, whatever the
 * clocks say. (A process that is stopped as a whole cannot know; what it writes afterwards fails on resourceVersion.)
 */
export class LeaderElection {
  readonly #client: KubeClient;
  readonly #options: Required<LeaderElectionOptions>;
  #leading: AbortController | undefined;
  /** When the last renewal that succeeded was begun. */
  #renewedAt = Number.NEGATIVE_INFINITY;
  /** As we wrote it last; undefined when somebody else may have written since. */
  #lease: Lease | undefined;
  #sighting: Sighting | undefined;
  #holder: string | undefined;

  constructor(client: KubeClient, options: LeaderElectionOptions) {
    this.#client = client;
    this.#options = { leaseDuration: 15_000, renewDeadline: 10_000, retryPeriod: 2000, onError: () => {}, onHolder: () => {}, ...options };
    const { leaseDuration, renewDeadline, retryPeriod } = this.#options;
    if (!(leaseDuration > renewDeadline && renewDeadline > retryPeriod)) {
      throw new RangeError('leader election needs leaseDuration > renewDeadline > retryPeriod');
    }
  }

  /** True only while no other can lead; looks at the clock, not only at what has been noticed. */
  isLeader(): boolean {
    return (
      this.#leading !== undefined && !this.#leading.signal.aborted && performance.now() - this.#renewedAt < this.#options.renewDeadline
    );
  }

  /** Aborts when leading ends. Already aborted when this is not the leader. */
  get leaderSignal(): AbortSignal {
    return this.#leading?.signal ?? AbortSignal.abort(new Error('not the leader'));
  }

  /** Who holds the lease as last seen. */
  get holder(): string | undefined {
    return this.#holder;
  }

  /**
   * Competes for the lease until `stop` aborts; whenever it is won, calls `lead` with a signal that aborts when leading
   * has to end. `lead` has to end then; only after that the lease is given back or competed for again. A `lead` that
   * returns or throws by itself ends everything, the lease given back.
   *
   * @throws what `lead` throws, unless its signal had aborted
   */
  async run(lead: (signal: AbortSignal) => Promise<void>, stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      if (!(await this.#acquire(stop))) return;
      const leading = new AbortController();
      this.#leading = leading;
      const onStop = () => leading.abort(stop.reason);
      if (stop.aborted) {
        this.#leading = undefined;
        await this.#release();
        return;
      }
      stop.addEventListener('abort', onStop, { once: true });
      const renewing = this.#keep(leading);
      try {
        await lead(leading.signal);
        if (!leading.signal.aborted) return;
      } catch (error) {
        if (!leading.signal.aborted) throw error;
      } finally {
        stop.removeEventListener('abort', onStop);
        const lost = leading.signal.aborted && !stop.aborted;
        leading.abort(new Error('leading has ended'));
        await renewing;
        this.#leading = undefined;
        if (lost) this.#lease = undefined;
        else await this.#release();
      }
    }
  }

  async #acquire(stop: AbortSignal): Promise<boolean> {
    for (;;) {
      if (stop.aborted) return false;
      if (await this.#attempt(stop)) return true;
      // Jittered like client-go's (factor 1.2), so that contenders do not stay in step.
      await sleep(this.#options.retryPeriod * (1 + 0.2 * Math.random()), stop).catch(() => {});
    }
  }

  /** Renews until leading ends; ends it when the renewals do not get through in time. */
  async #keep(leading: AbortController): Promise<void> {
    const { signal } = leading;
    const { renewDeadline, retryPeriod } = this.#options;
    let deadline: NodeJS.Timeout | undefined;
    const guard = () => {
      clearTimeout(deadline);
      deadline = setTimeout(
        () => leading.abort(new Error(`the lease could not be renewed for ${renewDeadline / 1000} s`)),
        Math.max(0, this.#renewedAt + renewDeadline - performance.now()),
      );
    };
    guard();
    while (!signal.aborted) {
      await sleep(retryPeriod, signal).catch(() => {});
      if (signal.aborted) break;
      if (await this.#attempt(signal)) guard();
      else if (this.#holder !== this.#options.identity) leading.abort(new Error(`the lease is held by ${this.#holder || 'nobody'}`));
    }
    clearTimeout(deadline);
  }

  /** One try to get or renew the lease. */
  async #attempt(signal: AbortSignal): Promise<boolean> {
    const renews = this.#lease !== undefined;
    try {
      return await this.#write(signal);
    } catch (error) {
      this.#lease = undefined;
      if (signal.aborted) return false;
      const raced = error instanceof KubeError && (error.isConflict || error.isAlreadyExists || error.isNotFound);
      if (!raced) this.#report(error);
      // A lease that changed under its leader: look at once who has it now.
      return raced && renews ? this.#attempt(signal) : false;
    }
  }

  async #write(signal: AbortSignal): Promise<boolean> {
    const { identity, leaseDuration, renewDeadline, retryPeriod, name, namespace } = this.#options;
    const begun = performance.now();
    // A call that hangs must leave time for another before the renew deadline.
    const call = { signal, deadline: Math.max(retryPeriod, renewDeadline / 2) };
    // The leader's own last write is the newest there is, unless somebody took the lease: then this one conflicts.
    const before = this.#lease ?? (await this.#client.find(leases, { namespace, name }, call));
    if (before && before !== this.#lease) this.#see(before);
    const holder = before?.spec?.holderIdentity;
    if (before && holder && holder !== identity && !this.#expired(before)) return false;
    const lease = leaseOf(before, identity, namespace, name, leaseDuration);
    this.#lease = before ? await this.#client.replace(leases, lease, call) : await this.#client.create(leases, lease, call);
    this.#renewedAt = begun;
    this.#setHolder(identity);
    return true;
  }

  #see(lease: Lease): void {
    const text = JSON.stringify(lease.spec ?? {});
    if (this.#sighting?.text !== text) this.#sighting = { text, at: performance.now() };
    this.#setHolder(lease.spec?.holderIdentity || undefined);
  }

  /** By the duration its holder wrote, or ours when that is longer, counted from when we first saw this state. */
  #expired(lease: Lease): boolean {
    const duration = Math.max((lease.spec?.leaseDurationSeconds ?? 0) * 1000, this.#options.leaseDuration);
    return this.#sighting !== undefined && performance.now() - this.#sighting.at > duration;
  }

  /** Gives the lease back, so that another need not wait for its end. */
  async #release(): Promise<void> {
    const { identity, namespace, name } = this.#options;
    this.#lease = undefined;
    this.#renewedAt = Number.NEGATIVE_INFINITY;
    try {
      // Read again: the last renewal was cut off, whether it was carried out is unknown.
      const lease = await this.#client.find(leases, { namespace, name }, { deadline: 2000 });
      if (lease?.spec?.holderIdentity !== identity) return;
      const now = microTime();
      // As client-go writes it: a lease of one second that nobody holds.
      const spec = { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1, acquireTime: now, renewTime: now };
      await this.#client.replace(leases, { ...lease, spec }, { deadline: 2000 });
      this.#setHolder(undefined);
    } catch (error) {
      this.#report(error);
    }
  }

  #setHolder(holder: string | undefined): void {
    if (holder === this.#holder) return;
    this.#holder = holder;
    try {
      this.#options.onHolder(holder);
    } catch (error) {
      this.#report(error);
    }
  }

  #report(error: unknown): void {
    try {
      this.#options.onError(error);
    } catch {
      // A broken logger must not cost the lease.
    }
  }
}

function leaseOf(before: Lease | undefined, identity: string, namespace: string, name: string, leaseDuration: number): Lease {
  const now = microTime();
  const same = before?.spec?.holderIdentity === identity;
  const transitions = before?.spec?.leaseTransitions ?? 0;
  return {
    ...before,
    metadata: before?.metadata ?? { name, namespace },
    spec: {
      ...before?.spec,
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseDuration / 1000),
      acquireTime: (same ? before?.spec?.acquireTime : undefined) ?? now,
      renewTime: now,
      leaseTransitions: !before || same ? transitions : transitions + 1,
    },
  };
}
