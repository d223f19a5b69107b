import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Failure } from "./api";

// useNow returns the time, newer every few seconds.
export function useNow(every = 5000): number {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => set(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

// age writes a length of time in its largest units, as kubectl does.
export function age(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 ? `${minutes}m${seconds % 60}s` : `${minutes}m`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return minutes % 60 ? `${hours}h${minutes % 60}m` : `${hours}h`;
  if (hours < 48) return `${hours}h`;
  return `${Math.floor(hours / 24)}d`;
}

// absolute writes a time in UTC.
export const absolute = (time: string): string => new Date(time).toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC");

// Time shows a time both ways: how long ago, and in UTC.
export function Time({ at }: { at?: string }) {
  const now = useNow();
  if (!at) return <>-</>;
  const past = now - Date.parse(at);
  return (
    <time dateTime={at} class="time">
      {past >= 0 ? `${age(past)} ago` : `in ${age(-past)}`} <small>{absolute(at)}</small>
    </time>
  );
}

// marks are the shapes of the states, so that colour is not the only difference.
const marks: Record<string, [string, string]> = {
  ok: ["good", "✓"],
  degraded: ["warn", "!"],
  FAILED: ["bad", "✗"],
  MISSING: ["bad", "✗"],
  unknown: ["idle", "?"],
  Succeeded: ["good", "✓"],
  Running: ["busy", "▶"],
  Waiting: ["warn", "…"],
  Retrying: ["warn", "↻"],
  Pending: ["idle", "○"],
  Blocked: ["bad", "■"],
  Failed: ["bad", "✗"],
  Bypassed: ["warn", "»"],
  Canceled: ["idle", "–"],
  Skipped: ["idle", "–"],
  Interrupted: ["warn", "–"],
};

export const toneOf = (state: string): string => (marks[state] ?? ["idle", ""])[0];

export function State({ of }: { of: string }) {
  const [tone, mark] = marks[of] ?? ["idle", "·"];
  return (
    <span class={`state ${tone}`}>
      <span aria-hidden="true">{mark}</span> {of}
    </span>
  );
}

// commandIn finds the command at the end of a next step, as the CLI writes one.
const commandIn = /(?:^|: )(kubectl .+?)\.?$/;

// Advice shows a next step. A command in it can be copied.
export function Advice({ text }: { text: string }) {
  const found = commandIn.exec(text);
  if (!found) return <span>{text}</span>;
  const command = found[1]!;
  return (
    <span>
      {text.slice(0, text.lastIndexOf(command))}
      <Command text={command} />
    </span>
  );
}

export function Command({ text }: { text: string }) {
  const [copied, set] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    set(true);
    setTimeout(() => set(false), 2000);
  };
  return (
    <span class="command">
      <code>{text}</code>
      <button type="button" onClick={() => void copy()} aria-label={`Copy: ${text}`}>
        {copied ? "copied" : "copy"}
      </button>
    </span>
  );
}

export function Problem({ failure, children }: { failure?: Failure; children?: ComponentChildren }) {
  if (!failure && !children) return null;
  return (
    <div class="problem" role="alert">
      {failure?.message ?? children}
      {failure?.next && (
        <div>
          <Advice text={failure.next} />
        </div>
      )}
    </div>
  );
}

// Scroll is a region that scrolls sideways on a narrow screen, also by keyboard.
export function Scroll({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      {children}
    </div>
  );
}
