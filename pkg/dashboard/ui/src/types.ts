// The parts of the answers that the page reads, as the Go packages printer and dashboard write them.

export type Health = "ok" | "degraded" | "FAILED" | "MISSING" | "unknown";

export interface Part {
  health: Health;
  problem?: string;
  remedy?: string;
}

export interface Cleanup {
  node: string;
  state: string;
  stuck?: boolean;
  step?: string;
  since?: string;
  reason?: string;
  counts?: { done: number; total: number };
}

export interface Status {
  time: string;
  healthy: boolean;
  namespace: string;
  pause?: { cause: string; by?: string; since?: string; until?: string; reason?: string };
  agent: Part & { version?: string; leader?: string; hasLeader: boolean; outside?: boolean; ready: number; replicas: number; dryRun?: boolean };
  admission: Part & { ways?: string[] };
  guard: Part;
  config: Part & { hash?: string };
  plugins?: (Part & { step: string; plugin: string })[];
  notifications?: (Part & { name: string; plugin: string })[];
  nodes: { total: number; protected: number; unprotected: number; bypassed?: number; excluded?: number; cleaning?: Record<string, number> };
  cleanups: Cleanup[];
  next?: string;
}

export interface Update {
  revision: number;
  status?: Status;
  problem?: string;
}

export interface About {
  context: string;
  server: string;
  user?: string;
  namespace: string;
  version: string;
}

export interface NodeRow {
  name: string;
  uid: string;
  protected: boolean;
  bypass?: { reason?: string; by?: string };
  unprotected?: string;
  cordoned?: boolean;
  state?: string;
  stuck?: boolean;
  step?: string;
  reason?: string;
  created: string;
  since?: string;
  pool?: string;
  zone?: string;
}

export interface StepRecord {
  name: string;
  plugin: string;
  critical: boolean;
  state: string;
  attempts?: number;
  failures?: number;
  progress?: string;
  reason?: string;
  lastError?: string;
  outputs?: Record<string, string>;
  startedAt?: string;
  finishedAt?: string;
  nextAttemptAt?: string;
}

export interface Step {
  record: StepRecord;
  wave: number;
  dependsOn?: string[];
}

export interface Run {
  state: string;
  message?: string;
  dryRun?: boolean;
  startedAt: string;
  finishedAt?: string;
  requestedBy?: string;
  bypassedBy?: string;
  bypass?: string;
  steps: Step[];
}

export interface PlannedStep {
  name: string;
  plugin: string;
  critical: boolean;
  wave: number;
  dependsOn?: string[];
}

export interface NodeView {
  name: string;
  row?: NodeRow;
  run?: Run;
  planned?: PlannedStep[];
  noPlan?: string;
}

export interface Diagnosis {
  question: string;
  state?: string;
  facts: { outcome: string; text: string }[];
  causes: { id: string; text: string; options?: string[] }[];
  holding?: string[];
  remarks?: string[];
  notChecked?: { what: string; why: string }[];
  events?: string[];
}

export interface PastRun {
  record: string;
  node: string;
  state: string;
  message?: string;
  dryRun?: boolean;
  requestedBy?: string;
  bypass?: string;
  bypassedBy?: string;
  startedAt: string;
  finishedAt?: string;
  steps: { name: string; plugin: string; state: string; attempts: number; seconds?: number; error?: string; outputs?: Record<string, string> }[];
}

export interface History {
  runs: PastRun[];
  unreadable?: string[];
}
