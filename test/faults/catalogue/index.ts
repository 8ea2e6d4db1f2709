import type { Fault } from '../fault.ts';
import { network } from './network.ts';
import { people } from './people.ts';
import { processes } from './processes.ts';
import { storage } from './storage.ts';

/** All faults, in the order of docs/faults.md. */
export const catalogue: { title: string; faults: Fault[] }[] = [
  { title: 'Processes', faults: processes },
  { title: 'Storage, images and CRIU', faults: storage },
  { title: 'Network and nodes', faults: network },
  { title: 'People, policies and the pod itself', faults: people },
];
