import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';

/**
 * Starts a thread that is in a file beside its module. Its nursery is small: it keeps numbers, or buffers that are collected by the
 * hundreds then (17 to 3 % of a core, measured where memory is taken in).
 *
 * @param name of the file, without its extension: in the image both are bundles beside each other, in the tests sources
 * @param beside `import.meta.url` of the module
 * @param workerData what the thread is to know
 */
export function startThread(name: string, beside: string, workerData?: unknown): Worker {
  return new Worker(new URL(`./${name}${extname(beside)}`, beside), { workerData, resourceLimits: { maxYoungGenerationSizeMb: 1 } });
}
