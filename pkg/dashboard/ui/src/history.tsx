import { useMemo } from "preact/hooks";
import { useGet } from "./api";
import { age, Problem, Scroll, State, Time } from "./parts";
import type { History, PastRun } from "./types";

const maxRows = 500;

const took = (run: PastRun): string => (run.finishedAt ? age(Date.parse(run.finishedAt) - Date.parse(run.startedAt)) : "-");

export function HistoryPage({ query }: { query: URLSearchParams }) {
  const { value, failure, loading, again } = useGet<History>("/api/history");
  const search = (query.get("search") ?? "").toLowerCase();
  const runs = useMemo(
    () => (value?.runs ?? []).filter((run) => !search || `${run.node} ${run.state} ${run.requestedBy ?? ""} ${run.bypassedBy ?? ""} ${run.steps.map((step) => step.name + " " + step.plugin).join(" ")}`.toLowerCase().includes(search)),
    [value, search],
  );
  return (
    <>
      <h1>History</h1>
      <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
        <label>
          Search{" "}
          <input
            type="search"
            value={query.get("search") ?? ""}
            placeholder="node, state, user, step or plugin"
            onInput={(event) => location.replace(event.currentTarget.value ? "#/history?" + new URLSearchParams({ search: event.currentTarget.value }).toString() : "#/history")}
          />
        </label>
        <button type="button" onClick={again}>
          Read again
        </button>
        {value && (
          <>
            <button type="button" onClick={() => save("cleanups.csv", "text/csv", csv(runs))}>
              Save as CSV
            </button>
            <button type="button" onClick={() => save("cleanups.json", "application/json", JSON.stringify(runs, null, 2))}>
              Save as JSON
            </button>
          </>
        )}
      </form>
      <Problem failure={failure} />
      <p role="status">{loading && !value ? "Reading the records…" : `${runs.length} of ${value?.runs.length ?? 0} cleanups`}</p>
      {(value?.unreadable ?? []).map((text) => (
        <Problem key={text}>{text}</Problem>
      ))}
      <Scroll label="Cleanups">
        <table>
          <thead>
            <tr>
              <th>Node</th>
              <th>State</th>
              <th>Began</th>
              <th>Took</th>
              <th>Deleted by</th>
              <th>What happened</th>
            </tr>
          </thead>
          <tbody>
            {runs.slice(0, maxRows).map((run) => (
              <tr key={run.record}>
                <td>
                  <a href={`#/node/${run.node}`}>{run.node}</a>
                </td>
                <td>
                  <State of={run.state} />
                </td>
                <td>
                  <Time at={run.startedAt} />
                </td>
                <td>{took(run)}</td>
                <td>{run.requestedBy || "-"}</td>
                <td>
                  {run.bypassedBy && `bypassed by ${run.bypassedBy}: ${run.bypass ?? ""}. `}
                  {run.message}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      {runs.length > maxRows && <p>The newest {maxRows} are shown. Search, or save all of them.</p>}
    </>
  );
}

// csv writes one line for each cleanup. A field that a spreadsheet would run as a formula begins with an apostrophe.
export function csv(runs: PastRun[]): string {
  const field = (text: string): string => `"${(/^[=+\-@\t\r]/.test(text) ? "'" + text : text).replace(/"/g, '""')}"`;
  const head = ["node", "state", "startedAt", "finishedAt", "requestedBy", "bypassedBy", "bypass", "failedSteps", "message"];
  const lines = runs.map((run) =>
    [
      run.node,
      run.state,
      run.startedAt,
      run.finishedAt ?? "",
      run.requestedBy ?? "",
      run.bypassedBy ?? "",
      run.bypass ?? "",
      run.steps
        .filter((step) => step.state === "Failed")
        .map((step) => step.name)
        .join(" "),
      run.message ?? "",
    ]
      .map(field)
      .join(","),
  );
  return [head.join(","), ...lines].join("\r\n") + "\r\n";
}

function save(name: string, type: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
