import { useEffect, useState } from "preact/hooks";
import type { Update } from "./types";

const headers = (): HeadersInit => ({ "Nodecleanup-Session": localStorage.getItem("nodecleanup-session") ?? "" });

// Failure is an answer that is an error.
export class Failure extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly next?: string,
  ) {
    super(message);
  }
}

async function failureOf(response: Response): Promise<Failure> {
  try {
    const body = (await response.json()) as { error: string; next?: string };
    return new Failure(body.error, response.status, body.next);
  } catch {
    return new Failure(`the dashboard answers ${response.status}`, response.status);
  }
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await fetch(path, { headers: headers(), signal });
  if (!response.ok) throw await failureOf(response);
  return (await response.json()) as T;
}

export interface Answer<T> {
  value?: T;
  failure?: Failure;
  loading: boolean;
}

// useGet reads a path, and again when one of the keys changes. The last answer stays until the next one arrives.
export function useGet<T>(path: string, ...keys: unknown[]): Answer<T> & { again: () => void } {
  const [answer, set] = useState<Answer<T> & { path: string }>({ loading: true, path });
  const [count, setCount] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    set((last) => (last.path === path ? { ...last, loading: true } : { loading: true, path }));
    get<T>(path, controller.signal)
      .then((value) => set({ value, loading: false, path }))
      .catch((error: unknown) => {
        if (controller.signal.aborted) return;
        const failure = error instanceof Failure ? error : new Failure("the dashboard does not answer: " + String(error), 0);
        set((last) => ({ value: last.path === path ? last.value : undefined, failure, loading: false, path }));
      });
    return () => controller.abort();
  }, [path, count, ...keys]);
  return { ...answer, again: () => setCount((n) => n + 1) };
}

export interface Connection {
  update?: Update;
  // problem is why the page does not get the newest state, empty if it does.
  problem?: string;
  // expired: the session is unknown, so that only a new login link helps.
  expired?: boolean;
}

const silence = 40_000; // The server sends something at least every 15 seconds.

// useStream follows the cluster while the page is visible. A fetch, because an EventSource sends no header.
export function useStream(): Connection {
  const [connection, set] = useState<Connection>({});
  useEffect(() => {
    let stop = () => {};
    const begin = () => {
      stop();
      if (document.hidden) return;
      const controller = new AbortController();
      stop = () => controller.abort();
      void follow(controller.signal, set);
    };
    document.addEventListener("visibilitychange", begin);
    begin();
    return () => {
      document.removeEventListener("visibilitychange", begin);
      stop();
    };
  }, []);
  return connection;
}

type Set = (change: (last: Connection) => Connection) => void;

async function follow(signal: AbortSignal, set: Set): Promise<void> {
  for (let wait = 1000; !signal.aborted; wait = Math.min(wait * 2, 15_000)) {
    try {
      await readStream(signal, (update) => {
        wait = 1000;
        set((last) => ({ update: { ...update, status: update.status ?? last.update?.status } }));
      });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Failure && error.status === 401) {
        set((last) => ({ update: last.update, problem: error.message, expired: true }));
        return;
      }
      const text = error instanceof Failure ? error.message : "kubectl nodecleanup dashboard does not answer. Has it ended?";
      set((last) => ({ update: last.update, problem: text }));
    }
    await new Promise((done) => setTimeout(done, wait));
  }
}

async function readStream(signal: AbortSignal, handle: (update: Update) => void): Promise<void> {
  const response = await fetch("/api/stream", { headers: headers(), signal });
  if (!response.ok || !response.body) throw await failureOf(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const timer = setTimeout(() => void reader.cancel(), silence);
    const { value, done } = await reader.read().finally(() => clearTimeout(timer));
    if (done) throw new Error("the stream ended");
    text += value;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const line = text.slice(0, end);
      text = text.slice(end + 2);
      if (line.startsWith("data: ")) handle(JSON.parse(line.slice(6)) as Update);
    }
  }
}
