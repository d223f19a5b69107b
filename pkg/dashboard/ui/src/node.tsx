import { useGet } from "./api";
import { Causes } from "./overview";
import { age, Problem, Scroll, State, Time, toneOf, useNow } from "./parts";
import type { Diagnosis, NodeView, Run, Step } from "./types";

export function NodePage({ name, revision, round }: { name: string; revision: number; round: number }) {
  const view = useGet<NodeView>(`/api/nodes/${name}`, revision);
  const row = view.value?.row;
  const run = view.value?.run;
  const diagnosis = useGet<Diagnosis>(`/api/nodes/${name}/diagnosis`, revision, round);
  return (
    <>
      <h1>
        {name} {row?.state ? <State of={row.state} /> : run && !row ? <State of={run.state} /> : null}
      </h1>
      <Problem failure={view.failure} />
      {view.value && !row && <p>The node no longer exists. This is its newest cleanup.</p>}
      {row && (
        <p>
          {row.protected ? "Protected: a deletion keeps the node until its cleanup is done." : row.bypass ? `Marked for bypass: ${row.bypass.reason ?? ""}` : `Not protected${row.unprotected ? ": " + row.unprotected : ""}.`}{" "}
          {row.cordoned && "Cordoned. "}
          {[row.pool && `Pool ${row.pool}.`, row.zone && `Zone ${row.zone}.`].filter(Boolean).join(" ")} Created <Time at={row.created} />
        </p>
      )}
      {diagnosis.value && (
        <section aria-labelledby="why">
          <h2 id="why">{diagnosis.value.question}</h2>
          <Causes of={diagnosis.value} />
          {(diagnosis.value.remarks ?? []).map((text) => (
            <p key={text}>Also: {text}</p>
          ))}
          {(diagnosis.value.notChecked ?? []).map((one) => (
            <p key={one.what}>
              Not checked: {one.what}: {one.why}
            </p>
          ))}
        </section>
      )}
      {diagnosis.failure && diagnosis.failure.status !== 404 && <Problem failure={diagnosis.failure} />}
      {run && <Timeline run={run} />}
      {view.value?.planned && !run && (
        <section aria-labelledby="plan">
          <h2 id="plan">What a deletion would run</h2>
          <ol>
            {view.value.planned.map((step) => (
              <li key={step.name}>
                {step.name} ({step.plugin}){step.critical ? ", critical" : ""}
                {step.dependsOn?.length ? `, after ${step.dependsOn.join(", ")}` : ""}
              </li>
            ))}
          </ol>
        </section>
      )}
      {run && view.value?.noPlan && <p>The order of the steps is not shown: {view.value.noPlan}.</p>}
      {diagnosis.value?.events?.length ? (
        <section aria-labelledby="events">
          <h2 id="events">Events</h2>
          <ul>
            {diagnosis.value.events.map((text) => (
              <li key={text}>{text}</li>
            ))}
          </ul>
        </section>
      ) : null}
    </>
  );
}

const [labelWidth, chartWidth, barHeight] = [180, 640, 28];

// Timeline draws one row for each step, also for those that have not begun, and says the same in a table.
function Timeline({ run }: { run: Run }) {
  const now = useNow(1000);
  const began = Date.parse(run.startedAt);
  const end = run.finishedAt ? Date.parse(run.finishedAt) : Math.max(now, began + 1000);
  const x = (time: number) => labelWidth + ((Math.min(time, end) - began) / Math.max(1, end - began)) * chartWidth;
  const times = (step: Step): [number, number] | null => {
    if (!step.record.startedAt) return null;
    return [Date.parse(step.record.startedAt), step.record.finishedAt ? Date.parse(step.record.finishedAt) : end];
  };
  return (
    <section aria-labelledby="timeline">
      <h2 id="timeline">
        Cleanup <State of={run.state} />
      </h2>
      <p>
        Began <Time at={run.startedAt} />
        {run.finishedAt && (
          <>
            , ended <Time at={run.finishedAt} />
          </>
        )}
        , took {age(end - began)}
        {run.requestedBy && `, deleted by ${run.requestedBy}`}
        {run.bypassedBy && `, bypassed by ${run.bypassedBy}: ${run.bypass ?? ""}`}
        {run.dryRun && ", dry run"}. {run.message}
      </p>
      <Scroll label="Timeline">
        <svg class="timeline" width={labelWidth + chartWidth + 80} height={run.steps.length * barHeight + 8} role="img" aria-label="Timeline of the steps; the table below says the same">
          <defs>
            <pattern id="waits" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
              <rect width="8" height="8" class="warn" />
              <line x1="0" y1="0" x2="0" y2="8" class="stripe" />
            </pattern>
          </defs>
          {run.steps.map((step, i) => {
            const span = times(step);
            const y = i * barHeight + 4;
            const waits = ["Retrying", "Waiting"].includes(step.record.state);
            return (
              <g key={step.record.name} data-step={step.record.name} data-state={step.record.state}>
                <text x={labelWidth - 8} y={y + 15} text-anchor="end">
                  {step.record.name}
                </text>
                {span ? (
                  <>
                    <rect x={x(span[0])} y={y} width={Math.max(3, x(span[1]) - x(span[0]))} height={barHeight - 8} rx="3" class={waits ? undefined : toneOf(step.record.state)} fill={waits ? "url(#waits)" : undefined} />
                    <text x={x(span[1]) + 6} y={y + 15}>
                      {age(span[1] - span[0])}
                    </text>
                  </>
                ) : (
                  <rect x={labelWidth} y={y} width={chartWidth} height={barHeight - 8} rx="3" class="pending" />
                )}
              </g>
            );
          })}
        </svg>
      </Scroll>
      <Scroll label="Steps">
        <table>
          <thead>
            <tr>
              <th>Step</th>
              <th>Plugin</th>
              <th>State</th>
              <th>Attempts</th>
              <th>Began</th>
              <th>Took</th>
              <th>What happened</th>
            </tr>
          </thead>
          <tbody>
            {run.steps.map((step) => {
              const span = times(step);
              const { record } = step;
              return (
                <tr key={record.name}>
                  <th scope="row">
                    {record.name}
                    {record.critical && <small> critical</small>}
                  </th>
                  <td>{record.plugin}</td>
                  <td>
                    <State of={record.state} />
                  </td>
                  <td>
                    {record.attempts ?? 0}
                    {!!record.failures && ` (${record.failures} failed)`}
                  </td>
                  <td>
                    <Time at={record.startedAt} />
                  </td>
                  <td>{span ? age(span[1] - span[0]) : "-"}</td>
                  <td>
                    {record.lastError || record.reason || record.progress || "-"}
                    {record.nextAttemptAt && record.state === "Retrying" && (
                      <>
                        {" "}
                        Next attempt <Time at={record.nextAttemptAt} />
                      </>
                    )}
                    <Outputs of={record.outputs} />
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

// Outputs shows what a step recorded. A link is one only with https or http.
function Outputs({ of }: { of?: Record<string, string> }) {
  const entries = Object.entries(of ?? {});
  if (entries.length === 0) return null;
  return (
    <dl class="outputs">
      {entries.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>
            {/^https?:\/\/\S+$/.test(value) ? (
              <a href={value} target="_blank" rel="noopener noreferrer">
                {value}
              </a>
            ) : (
              value
            )}
          </dd>
        </div>
      ))}
    </dl>
  );
}
