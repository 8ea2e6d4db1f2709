import type { ObjectMeta } from './migration.ts';
import type { NodeSelectorTerm } from './pod.ts';

export type AccessMode = 'ReadWriteOnce' | 'ReadOnlyMany' | 'ReadWriteMany' | 'ReadWriteOncePod';

/** The parts of a core/v1 PersistentVolumeClaim that podferry reads. */
export interface PersistentVolumeClaim {
  metadata: ObjectMeta;
  spec?: {
    accessModes?: AccessMode[];
    /** Once it is bound. */
    volumeName?: string;
  };
}

/** The parts of a core/v1 PersistentVolume that podferry reads. */
export interface PersistentVolume {
  metadata: ObjectMeta;
  spec?: { nodeAffinity?: { required?: { nodeSelectorTerms: NodeSelectorTerm[] } } };
}
