import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { TargetRequest, TargetState, TargetView } from '../api/agent.ts';
import { failureIn } from '../plan/criu-advice.ts';
import { Changes } from '../util/changes.ts';
import { messageOf } from '../util/errors.ts';
import type { Records } from './records.ts';
import type { ContainerStart, FailedRestore, Runtime, StoredContent } from './runtime.ts';

/** The tag under which a checkpoint, and after the commit its base image, is pulled. */
export const restoreTag = 'restore';

const aheadPrefix = 'ahead-';

/** Last part of the repository that holds the volumes; no container can be named so (they are DNS labels). */
export const volumesRepository = 'pod.volumes';

/** What a destination's agent must remember of a migration. */
export interface TargetRecord {
  request: TargetRequest;
  state: TargetState;
  /** Unguessable first part of the repositories of this migration. */
  token: string;
  containers: Record<string, TargetContainer>;
  /** Digest of the image that holds the volumes, once it is here. */
  volumes?: string;
  /** uid of the pod that was handed the checkpoint first; no other is. */
  servedTo?: string;
  /** uid of the target pod whose volumes were filled. */
  filled?: string;
  /** Since when the target may start; containers that started before belong to an earlier pod of that name. RFC 3339. */
  servedAt?: string;
  /** uid of the target pod, once a container of it has started. */
  podUid?: string;
}

export interface TargetContainer {
  /** The base image: its digest, and all it consists of. */
  base: { digest: string; content: StoredContent[] };
  /** Digest of the checkpoint image, once it is here whole. */
  digest?: string;
  startedAt?: string;
  /** uid of the pod in which it started. */
  startedBy?: string;
}

/** How the target's keeper reaches the world; real in `run.ts`. */
export interface TargetPorts {
  runtime: Runtime;
  /** Where content lies (see `TargetView.contentDirectory`); undefined when restores of this node do not look there. */
  contentDirectory(uid: string): string | undefined;
  /** See `TargetView.memoryPort`. */
  memoryPort?: number;
  /** See `TargetView.freeBytes`. */
  freeBytes(): number | undefined;
  /** Where the kubelet of this node pulls from, `localhost:PORT`. */
  registryHost: string;
  /** Fetches what the source pushed to the configured registry (transfer Registry). */
  fetch(uid: string, record: TargetRecord, signal: AbortSignal): Promise<void>;
  /** Puts the volumes' content into the directories of the target pod. */
  fillVolumes(uid: string, record: TargetRecord, podUid: string, signal: AbortSignal): Promise<void>;
  /** Removes from the configured registry what the source pushed there (transfer Registry). Never fails. */
  retract(record: TargetRecord): Promise<void>;
  /**
   * Reads all that was received once more and compares it with its digests.
   *
   * @throws Error that names what is damaged
   */
  verifyContent(uid: string): Promise<void>;
  /** Removes what was received. */
  removeContent(uid: string): Promise<void>;
  now(): number;
}

/** What fetching a checkpoint from a registry may take; the controller's own limit is shorter as a rule. Milliseconds. */
const fetchDeadline = 3600_000;

/** What one look at the runtime may take, and the time between two. Milliseconds. */
const lookDeadline = 5000;
const lookInterval = 300;

/** What removing a migration's images from the runtime may take. Milliseconds. */
const imageDeadline = 10_000;

/** What pulling the archives ahead may take. Milliseconds. */
const pullDeadline = 600_000;

/**
 * Until the runtime is told to pull ahead: the target pod is there by then, and its kubelet waits for volumes, of which it looks at the state
 * every 300 ms (pkg/kubelet/volumemanager). At once it took 80 to 110 ms of what deletes the source and makes the target. Milliseconds.
 */
const pullAfter = 120;

/** What is told of a restore that failed. Characters. */
const longestFailure = 2000;

interface Entry {
  record: TargetRecord;
  revision: number;
  error?: string;
  /** Container → what CRIU said when it could not be restored. */
  failures: Map<string, string>;
  filling?: Promise<void>;
  committing?: Promise<void>;
  /**
   * From the moment it may be handed out, and again when it is, which costs little when nothing was written to since: memory
   * beside an archive passes nobody else who would look at it.
   */
  verifying?: Promise<void>;
  /** For which pod it is is being written. */
  noting?: Promise<void>;
  fetching?: Promise<void>;
  /** The runtime has the checkpoint ahead of the kubelet's pull, which then finds all but the name in its store. */
  pulling?: { tag: string; done: Promise<void>; stop: AbortController };
  /** See `TargetView.live`; undefined: not looked at yet. */
  live?: boolean;
  watching?: Promise<void>;
}

/** Pods on their way in: receives, serves to this node's kubelet, and sees the containers start. */
export class TargetKeeper {
  readonly #ports: TargetPorts;
  readonly #records: Records<TargetRecord>;
  readonly #log: Logger;
  readonly #entries = new Map<string, Entry>();
  readonly #byToken = new Map<string, string>();
  readonly #changes = new Changes();

  constructor(ports: TargetPorts, records: Records<TargetRecord>, log: Logger) {
    this.#ports = ports;
    this.#records = records;
    this.#log = log;
  }

  async start(): Promise<void> {
    const { records, damaged } = await this.#records.load();
    for (const path of damaged) this.#log.error({ path }, 'a record cannot be read; its target pod cannot be restored or restarted');
    for (const [uid, record] of records) {
      const entry: Entry = { record, revision: 1, failures: new Map() };
      this.#entries.set(uid, entry);
      this.#byToken.set(record.token, uid);
      // An earlier process may have ended between the commit and this.
      if (record.state === 'Committed') await this.#removeMemory(uid, record);
      if (record.state === 'Revoked') this.#watchEnd(uid, entry);
    }
  }

  view(uid: string): TargetView {
    const entry = this.#entries.get(uid);
    if (!entry) return { revision: 0, state: 'Unknown', containers: [] };
    const { record, revision, error, failures, fetching } = entry;
    const host = `${this.#ports.registryHost}/${record.token}`;
    const contentDirectory = this.#ports.contentDirectory(uid);
    const freeBytes = this.#ports.freeBytes();
    const { memoryPort } = this.#ports;
    return {
      revision,
      state: fetching ? 'Fetching' : record.state,
      repository: record.token,
      ...(contentDirectory ? { contentDirectory } : {}),
      ...(contentDirectory && memoryPort !== undefined ? { memoryPort } : {}),
      ...(freeBytes === undefined ? {} : { freeBytes }),
      containers: Object.entries(record.containers).map(([name, container]) => ({
        name,
        rootfsImageRef: `${host}/${name}@${container.base.digest}`,
        checkpointImage: `${host}/${name}:${restoreTag}`,
        ...(container.digest ? { digest: container.digest } : {}),
        ...(container.startedAt ? { startedAt: container.startedAt } : {}),
        ...(container.startedBy ? { startedBy: container.startedBy } : {}),
        ...(failures.has(name) ? { restoreFailure: failures.get(name) ?? '' } : {}),
      })),
      ...(record.state === 'Revoked' ? { live: entry.live ?? true } : {}),
      ...(error ? { error: { message: error } } : {}),
    };
  }

  list(): { uid: string; state: TargetState }[] {
    return [...this.#entries].map(([uid, { record }]) => ({ uid, state: record.state }));
  }

  async wait(uid: string, revision: number, limit: number, signal: AbortSignal): Promise<TargetView> {
    if (this.view(uid).revision === revision) await this.#changes.next(uid, limit, signal);
    return this.view(uid);
  }

  async set(uid: string, request: TargetRequest, signal: AbortSignal): Promise<TargetView> {
    const entry = this.#entries.get(uid);
    switch (request.goal) {
      case 'Prepared':
        if (!entry || entry.error) await this.#prepare(uid, request, signal);
        return this.view(uid);
      case 'Complete': {
        if (entry?.record.state === 'Prepared' && !entry.error) this.#fetch(uid, entry);
        return this.view(uid);
      }
      case 'Serving': {
        if (!entry || (entry.record.state !== 'Complete' && entry.record.state !== 'Serving')) return this.view(uid);
        entry.record.request = request;
        entry.record.state = 'Serving';
        entry.record.servedAt ??= new Date(this.#ports.now()).toISOString();
        await this.#save(uid, entry);
        this.#verify(uid, entry).catch(() => undefined);
        this.#pullAhead(uid, entry);
        return this.view(uid);
      }
      case 'Revoked': {
        if (!entry || entry.record.state === 'Committed') return this.view(uid);
        entry.record.state = 'Revoked';
        await this.#save(uid, entry);
        this.#watchEnd(uid, entry);
        return this.view(uid);
      }
      case 'Committed': {
        if (!entry) return this.view(uid);
        entry.committing ??= this.#commit(uid, entry).finally(() => {
          delete entry.committing;
        });
        await entry.committing;
        return this.view(uid);
      }
    }
  }

  async forget(uid: string): Promise<void> {
    const entry = this.#entries.get(uid);
    if (!entry) return;
    const { record } = entry;
    // What was fetched is gone from there already.
    if (record.request.transfer === 'Registry' && record.state !== 'Committed') await this.#ports.retract(record);
    await stopped(entry);
    await this.#ports.removeContent(uid);
    await this.#removeImages(uid, { prefix: `${this.#ports.registryHost}/${record.token}/` });
    await this.#records.remove(uid);
    this.#entries.delete(uid);
    this.#byToken.delete(entry.record.token);
    this.#changes.notify(uid);
  }

  /** The migration that a repository belongs to; the token is the right to it. */
  find(token: string): { uid: string; record: TargetRecord } | undefined {
    const uid = this.#byToken.get(token);
    const record = uid === undefined ? undefined : this.#entries.get(uid)?.record;
    return uid === undefined || !record ? undefined : { uid, record };
  }

  /** The tag under which the runtime has the checkpoints ahead, if it does (see `Entry.pulling`). */
  aheadTag(uid: string): string | undefined {
    return this.#entries.get(uid)?.pulling?.tag;
  }

  /** An image arrived whole: a container's checkpoint, or the volumes. */
  async received(uid: string, part: string, digest: string): Promise<void> {
    const entry = this.#entries.get(uid);
    if (entry?.record.state !== 'Prepared') return;
    const { record } = entry;
    if (part === volumesRepository) record.volumes = digest;
    else {
      const container = record.containers[part];
      if (!container) return;
      container.digest = digest;
    }
    const whole =
      Object.values(record.containers).every((container) => container.digest) &&
      (record.request.volumes.length === 0 || record.volumes !== undefined);
    // Nobody has to do anything about one part of several, and the pod stands still.
    if (!whole) return this.#records.write(uid, record);
    record.state = 'Complete';
    await this.#save(uid, entry);
  }

  /**
   * Whether a container's checkpoint may be handed to the kubelet: to the one pod that asked first, since of a pod whose
   * object was deleted by force the processes may run on beside its successor of the same name. And its volumes have to be
   * in place, since the processes expect their files the moment they go on.
   *
   * @throws Error when the volumes could not be filled, the kubelet asks again; or when what was received is damaged
   */
  async ready(uid: string, signal: AbortSignal): Promise<boolean> {
    const entry = this.#entries.get(uid);
    if (!entry) return false;
    const { record } = entry;
    const { namespace, pod } = record.request;
    const verified = this.#verify(uid, entry);
    verified.catch(() => undefined);
    const podUid = await this.#ports.runtime.podUidOf(namespace, pod ?? '', signal);
    if (!podUid || podUid !== (record.servedTo ?? podUid)) {
      this.#log.warn({ migration: uid, pod, podUid, servedTo: record.servedTo }, 'a checkpoint was asked for by a pod that it is not for');
      return false;
    }
    await this.#serveTo(uid, entry, podUid);
    await verified;
    if (record.volumes) {
      entry.filling ??= this.#fill(uid, entry, podUid, signal).finally(() => {
        delete entry.filling;
      });
      await entry.filling;
    }
    return true;
  }

  /** The runtime could not restore a container. Not written down: whoever asks learns of the failure from the kubelet too. */
  restoreFailed(failure: FailedRestore): void {
    const said = failureIn(failure.log).slice(0, longestFailure);
    for (const [uid, entry] of this.#entries) {
      if (!said || !this.#isTarget(entry.record, failure)) continue;
      entry.failures.set(failure.container, said);
      this.#changed(uid, entry);
      this.#log.warn({ migration: uid, pod: failure.pod, container: failure.container, said }, 'CRIU could not restore a container');
    }
  }

  /** The runtime started a container; from then on its tag leads to the base image (see registry.ts). */
  async started(start: ContainerStart): Promise<void> {
    for (const [uid, entry] of this.#entries) {
      const container = entry.record.containers[start.container];
      if (!container || container.startedAt || !entry.record.servedAt || start.at < entry.record.servedAt) continue;
      if (!this.#isTarget(entry.record, start)) continue;
      container.startedAt = start.at;
      container.startedBy = start.podUid;
      entry.record.podUid = start.podUid;
      await this.#save(uid, entry);
      this.#log.info({ migration: uid, pod: start.pod, container: start.container }, 'restored');
    }
  }

  /** Target pods that containers are awaited of; whoever watches the runtime asks for them after a gap. */
  awaited(): { namespace: string; pod: string }[] {
    return [...this.#entries.values()].flatMap(({ record }) =>
      record.state === 'Serving' && record.request.pod ? [{ namespace: record.request.namespace, pod: record.request.pod }] : [],
    );
  }

  /** A pod of that name that was not made from this migration's checkpoint (its owner was faster) is not its target. */
  #isTarget({ request, state, token }: TargetRecord, { namespace, pod, image }: Omit<FailedRestore, 'log'>): boolean {
    if (request.namespace !== namespace || request.pod !== pod || state === 'Committed') return false;
    return image.startsWith(`${this.#ports.registryHost}/${token}/`);
  }

  /** Forgets migrations that are over and whose target pod has left this node: nobody pulls from them any more. */
  async sweep(isHere: (podUid: string) => Promise<boolean>): Promise<void> {
    for (const [uid, { record }] of this.#entries) {
      if (record.state === 'Committed' && record.podUid && !(await isHere(record.podUid))) await this.forget(uid);
    }
  }

  /** Whether this migration has a record here. */
  knows(uid: string): boolean {
    return this.#entries.has(uid);
  }

  /** Looks until nothing of the target runs here any more: an object that was deleted by force is gone before its processes. */
  #watchEnd(uid: string, entry: Entry): void {
    const { namespace, pod } = entry.record.request;
    const look = async () => {
      while (this.#entries.get(uid) === entry && entry.record.state === 'Revoked') {
        // A runtime that does not answer says nothing: it counts as live.
        const live =
          pod !== undefined && (await this.#ports.runtime.isAlive(namespace, pod, AbortSignal.timeout(lookDeadline)).catch(() => true));
        if (live !== entry.live) {
          entry.live = live;
          this.#changed(uid, entry);
        }
        if (!live) return;
        await sleep(lookInterval);
      }
    };
    entry.watching ??= look().finally(() => {
      delete entry.watching;
    });
  }

  #verify(uid: string, entry: Entry): Promise<void> {
    entry.verifying ??= this.#ports
      .verifyContent(uid)
      .catch((error: unknown) => {
        entry.error = `what was received is damaged: ${messageOf(error)}`;
        this.#changed(uid, entry);
        throw error;
      })
      .finally(() => {
        delete entry.verifying;
      });
    return entry.verifying;
  }

  /** While the source is deleted and the target's sandbox made. Nothing rests on it: what it does not bring the kubelet's pull does. */
  #pullAhead(uid: string, entry: Entry): void {
    if (entry.pulling) return;
    const stop = new AbortController();
    // Known to this process and the runtime alone: the token and the digests stand in the Migration, and whoever comes with this is not asked for whom.
    const tag = `${aheadPrefix}${randomBytes(16).toString('hex')}`;
    const host = `${this.#ports.registryHost}/${entry.record.token}`;
    const names = Object.keys(entry.record.containers);
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(pullDeadline)]);
    const pull = async () => {
      try {
        await sleep(pullAfter, undefined, { signal });
        await Promise.all(names.map((name) => this.#ports.runtime.pullImage(`${host}/${name}:${tag}`, signal)));
      } catch (error) {
        this.#log.info({ migration: uid, error: messageOf(error) }, 'the runtime could not have the archives ahead of the pull');
      }
    };
    entry.pulling = { tag, done: pull(), stop };
  }

  #fetch(uid: string, entry: Entry): void {
    // Not bound to the call that asked: the controller follows it by the view.
    entry.fetching ??= this.#ports
      .fetch(uid, entry.record, AbortSignal.timeout(fetchDeadline))
      .catch((error: unknown) => {
        entry.error = `fetching the checkpoint from the registry: ${messageOf(error)}`;
        this.#changed(uid, entry);
      })
      .finally(() => {
        delete entry.fetching;
      });
    this.#changed(uid, entry);
  }

  /** The target runs: what was received is needed no more, nor what the runtime pulled of it. */
  async #removeMemory(uid: string, { containers, token }: TargetRecord): Promise<void> {
    await this.#ports.removeContent(uid);
    for (const [name, { digest }] of Object.entries(containers)) {
      if (digest) await this.#removeImages(uid, { digest });
      await this.#removeImages(uid, { prefix: `${this.#ports.registryHost}/${token}/${name}:${aheadPrefix}` });
    }
  }

  /** Best effort: the kubelet collects images too, if later. */
  async #removeImages(uid: string, which: Parameters<Runtime['removeImages']>[0]): Promise<void> {
    try {
      await this.#ports.runtime.removeImages(which, AbortSignal.timeout(imageDeadline));
    } catch (error) {
      this.#log.warn({ migration: uid, ...which, error: messageOf(error) }, 'a checkpoint could not be removed from the runtime');
    }
  }

  async #prepare(uid: string, request: TargetRequest, signal: AbortSignal): Promise<void> {
    const containers: TargetRecord['containers'] = {};
    const problems: string[] = [];
    for (const { name, baseImage } of request.containers) {
      const digest = /@(sha256:[0-9a-f]{64})$/.exec(baseImage)?.[1];
      if (!digest) {
        problems.push(`the base image of container ${name} is known only as ${baseImage || 'nothing'}, not by a digest`);
        continue;
      }
      const { content, missing } = await this.#ports.runtime.imageContent(digest, signal);
      if (missing.length) {
        problems.push(
          `the base image ${baseImage} of container ${name} is not whole in the runtime's store on this node (${missing.length} parts missing; is discard_unpacked_layers on?)`,
        );
      }
      containers[name] = { base: { digest, content } };
    }
    const record: TargetRecord = { request, state: 'Prepared', token: randomBytes(16).toString('hex'), containers };
    const entry: Entry = { record, revision: 0, failures: new Map(), ...(problems.length ? { error: problems.join('; ') } : {}) };
    const before = this.#entries.get(uid);
    if (before) this.#byToken.delete(before.record.token);
    this.#entries.set(uid, entry);
    this.#byToken.set(record.token, uid);
    await this.#save(uid, entry);
  }

  /** What was received goes only when it is on the disk that nobody needs it any more: else a process that takes over would serve what is gone. */
  async #commit(uid: string, entry: Entry): Promise<void> {
    const { record } = entry;
    if (record.state !== 'Committed') {
      await this.#note(uid, record, { state: 'Committed' });
      this.#changed(uid, entry);
    }
    await stopped(entry);
    await this.#removeMemory(uid, record);
  }

  #serveTo(uid: string, entry: Entry, podUid: string): Promise<void> {
    const { record } = entry;
    if (record.servedTo === undefined) {
      entry.noting = this.#note(uid, record, { servedTo: podUid }).finally(() => {
        delete entry.noting;
      });
    }
    return entry.noting ?? Promise.resolve();
  }

  async #fill(uid: string, entry: Entry, podUid: string, signal: AbortSignal): Promise<void> {
    const { record } = entry;
    if (record.filled === podUid) return;
    await this.#ports.fillVolumes(uid, record, podUid, signal);
    await this.#note(uid, record, { filled: podUid });
  }

  /**
   * What did not get to the disk was not noted: a process that takes over would serve another pod, or what was removed, or fill the volumes
   * once more, over what the restored processes have written since. Nobody is told: who waits for this node would look in vain, while its
   * kubelet restores.
   */
  async #note(uid: string, record: TargetRecord, change: Partial<Pick<TargetRecord, 'state' | 'servedTo' | 'filled'>>): Promise<void> {
    const before = Object.fromEntries(Object.keys(change).map((key) => [key, record[key as keyof typeof change]]));
    Object.assign(record, change);
    try {
      await this.#records.write(uid, record);
    } catch (error) {
      Object.assign(record, before);
      throw error;
    }
  }

  async #save(uid: string, entry: Entry): Promise<void> {
    await this.#records.write(uid, entry.record);
    this.#changed(uid, entry);
  }

  #changed(uid: string, entry: Entry): void {
    entry.revision++;
    this.#changes.notify(uid);
  }
}

/** A pull that ended later would leave its image. */
async function stopped({ pulling }: Entry): Promise<void> {
  pulling?.stop.abort();
  await pulling?.done;
}
