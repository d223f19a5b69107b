import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useGet } from "./api";
import { Problem, State, Time } from "./parts";
import type { NodeRow } from "./types";

const rowHeight = 32;

type Column = "name" | "protected" | "state" | "step" | "pool" | "zone" | "created";

const columns: [Column, string][] = [
  ["name", "Node"],
  ["protected", "Protected"],
  ["state", "State"],
  ["step", "Step"],
  ["pool", "Pool"],
  ["zone", "Zone"],
  ["created", "Age"],
];

const protectionOf = (row: NodeRow): string => (row.protected ? "yes" : row.bypass ? "bypass" : "no");

const valueOf = (row: NodeRow, column: Column): string => (column === "protected" ? protectionOf(row) : (row[column] ?? ""));

// change returns the link to the view with one setting changed.
function change(query: URLSearchParams, key: string, value: string): string {
  const next = new URLSearchParams(query);
  if (value) next.set(key, value);
  else next.delete(key);
  const text = next.toString();
  return "#/nodes" + (text ? "?" + text : "");
}

export function NodesPage({ revision, query }: { revision: number; query: URLSearchParams }) {
  const { value, failure, loading } = useGet<{ nodes: NodeRow[] }>("/api/nodes", revision);
  const search = query.get("search") ?? "";
  const group = (query.get("group") ?? "") as Column | "";
  const sort = (query.get("sort") ?? "name") as Column;
  const descending = query.get("order") === "desc";
  const all = value?.nodes ?? [];
  const text = query.toString();
  const shown = useMemo(() => arrange(all, query), [value, text]);
  const go = (key: string, to: string) => location.replace(change(query, key, to));
  return (
    <>
      <h1>Nodes</h1>
      <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
        <label>
          Search <input type="search" value={search} onInput={(event) => go("search", event.currentTarget.value)} placeholder="name, pool or zone" />
        </label>
        <Choice label="Protected" value={query.get("protected") ?? ""} options={["yes", "no", "bypass"]} onChange={(to) => go("protected", to)} />
        <Choice label="State" value={query.get("state") ?? ""} options={["cleaning", "Pending", "Running", "Waiting", "Blocked", "Failed", "Succeeded"]} onChange={(to) => go("state", to)} />
        <Choice label="Group by" value={group} options={["state", "pool", "zone"]} none="nothing" onChange={(to) => go("group", to)} />
        <label>
          <input type="checkbox" checked={query.get("stuck") === "1"} onChange={(event) => go("stuck", event.currentTarget.checked ? "1" : "")} /> needs an operator
        </label>
      </form>
      <Problem failure={failure} />
      <p role="status">{loading && !value ? "Reading the nodes…" : `${shown.count} of ${all.length} nodes`}</p>
      <Rows lines={shown.lines} count={shown.count} query={query} sort={sort} descending={descending} />
    </>
  );
}

function Choice({ label, value, options, none = "any", onChange }: { label: string; value: string; options: string[]; none?: string; onChange: (to: string) => void }) {
  return (
    <label>
      {label}{" "}
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        <option value="">{none}</option>
        {options.map((one) => (
          <option key={one}>{one}</option>
        ))}
      </select>
    </label>
  );
}

type Line = NodeRow | { group: string; count: number };

// arrange filters, sorts and groups the nodes.
export function arrange(all: NodeRow[], query: URLSearchParams): { lines: Line[]; count: number } {
  const words = (query.get("search") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const [isProtected, state, onlyStuck] = [query.get("protected"), query.get("state"), query.get("stuck") === "1"];
  const rows = all.filter(
    (row) =>
      (!isProtected || protectionOf(row) === isProtected) &&
      (!state || (state === "cleaning" ? !!row.state && !["Succeeded", "Canceled", "Bypassed"].includes(row.state) : row.state === state)) &&
      (!onlyStuck || row.stuck) &&
      words.every((word) => `${row.name} ${row.pool ?? ""} ${row.zone ?? ""}`.toLowerCase().includes(word)),
  );
  const column = (query.get("sort") ?? "name") as Column;
  const sign = query.get("order") === "desc" ? -1 : 1;
  const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
  rows.sort((a, b) => sign * compare(valueOf(a, column), valueOf(b, column)) || compare(a.name, b.name));
  const by = query.get("group") as Column | null;
  if (!by) return { lines: rows, count: rows.length };
  const groups = new Map<string, NodeRow[]>();
  for (const row of rows) {
    const value = valueOf(row, by) || "none";
    groups.set(value, [...(groups.get(value) ?? []), row]);
  }
  const lines: Line[] = [];
  for (const [name, members] of [...groups].sort(([a], [b]) => compare(a, b))) lines.push({ group: name, count: members.length }, ...members);
  return { lines, count: rows.length };
}

// Rows draws only the rows that are visible, so that thousands scroll smoothly.
function Rows({ lines, count, query, sort, descending }: { lines: Line[]; count: number; query: URLSearchParams; sort: Column; descending: boolean }) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  useEffect(() => {
    const element = box.current!;
    const measure = new ResizeObserver(() => setHeight(element.clientHeight));
    measure.observe(element);
    return () => measure.disconnect();
  }, []);
  const first = Math.max(0, Math.floor(top / rowHeight) - 10);
  const last = Math.min(lines.length, Math.ceil((top + height) / rowHeight) + 10);
  return (
    <div class="window" ref={box} tabIndex={0} aria-label="List of nodes" role="region" onScroll={(event) => setTop(event.currentTarget.scrollTop)}>
      <table aria-rowcount={count + 1}>
        <thead>
          <tr>
            {columns.map(([column, title]) => {
              const active = column === sort;
              const next = active && !descending ? "desc" : "";
              const link = change(new URLSearchParams(change(query, "sort", column).split("?")[1]), "order", next);
              return (
                <th key={column} aria-sort={active ? (descending ? "descending" : "ascending") : undefined}>
                  <a href={link}>
                    {title} {active && <span aria-hidden="true">{descending ? "↓" : "↑"}</span>}
                  </a>
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {first > 0 && (
            <tr aria-hidden="true" style={{ height: `${first * rowHeight}px` }}>
              <td colSpan={columns.length} />
            </tr>
          )}
          {lines.slice(first, last).map((line, i) =>
            "group" in line ? (
              <tr key={"group " + line.group} class="group">
                <th colSpan={columns.length} scope="rowgroup">
                  {line.group} ({line.count})
                </th>
              </tr>
            ) : (
              <tr key={line.uid} aria-rowindex={first + i + 2}>
                <td>
                  <a href={`#/node/${line.name}`}>{line.name}</a>
                </td>
                <td title={line.unprotected || line.bypass?.reason}>{protectionOf(line)}</td>
                <td>{line.state ? <State of={line.state} /> : "-"}</td>
                <td>{line.step ?? "-"}</td>
                <td>{line.pool ?? "-"}</td>
                <td>{line.zone ?? "-"}</td>
                <td>
                  <Time at={line.created} />
                </td>
              </tr>
            ),
          )}
          {last < lines.length && (
            <tr aria-hidden="true" style={{ height: `${(lines.length - last) * rowHeight}px` }}>
              <td colSpan={columns.length} />
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}
