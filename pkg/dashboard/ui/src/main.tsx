import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useGet, useStream } from "./api";
import { HistoryPage } from "./history";
import { NodePage } from "./node";
import { NodesPage } from "./nodes";
import { Overview, roundOf } from "./overview";
import { Problem, Time } from "./parts";
import type { About } from "./types";

// useRoute returns the part of the URL behind #, which holds the state of the view.
function useRoute(): [string, URLSearchParams] {
  const [hash, set] = useState(location.hash);
  useEffect(() => {
    const changed = () => set(location.hash);
    addEventListener("hashchange", changed);
    changed(); // It may have changed since the first drawing.
    return () => removeEventListener("hashchange", changed);
  }, []);
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  return [decodeURIComponent(path), new URLSearchParams(query)];
}

const pages = [
  ["", "Overview"],
  ["nodes", "Nodes"],
  ["history", "History"],
] as const;

function App() {
  const connection = useStream();
  const about = useGet<About>("/api/about");
  const [path, query] = useRoute();
  const status = connection.update?.status;
  const problem = connection.problem ?? connection.update?.problem;
  const revision = connection.update?.revision ?? 0;
  const [first = "", second = ""] = path.split("/", 2);
  useEffect(() => {
    const title = first === "node" ? second : (pages.find(([page]) => page === first)?.[1] ?? "Overview");
    document.title = `${title} · nodecleanup · ${about.value?.context ?? ""}`;
  }, [first, second, about.value]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>
        Skip to the content
      </a>
      <header>
        <strong class="brand">nodecleanup</strong>
        <nav aria-label="Pages">
          {pages.map(([page, title]) => (
            <a key={page} href={`#/${page}`} aria-current={first === page || (page === "nodes" && first === "node") ? "page" : undefined}>
              {title}
            </a>
          ))}
        </nav>
        {about.value && (
          <span class="about">
            {about.value.context ? "context " : "server "}
            <b title={about.value.server}>{about.value.context || about.value.server}</b>, namespace <b>{about.value.namespace}</b>
            {about.value.user && (
              <>
                , user <b>{about.value.user}</b>
              </>
            )}{" "}
            · read-only
          </span>
        )}
      </header>
      {connection.expired && <Problem>This session has ended. For a new login link, press Enter in the terminal of kubectl nodecleanup dashboard, or start it again.</Problem>}
      {problem && !connection.expired && (
        <Problem>
          {problem}
          {status && (
            <div>
              The page shows the state of <Time at={status.time} />.
            </div>
          )}
        </Problem>
      )}
      <main id="main" tabIndex={-1}>
        {first === "history" ? (
          <HistoryPage query={query} />
        ) : !status ? (
          !problem && <p>Reading the cluster…</p>
        ) : first === "nodes" ? (
          <NodesPage revision={revision} query={query} />
        ) : first === "node" ? (
          <NodePage key={second} name={second} revision={revision} round={roundOf(status)} />
        ) : (
          <Overview status={status} />
        )}
      </main>
    </>
  );
}

render(<App />, document.getElementById("app")!);
