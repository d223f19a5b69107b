import { useGet } from "./api";
import { Advice, Problem, State, Time } from "./parts";
import type { Cleanup, Diagnosis, Part, Status } from "./types";

// maxExplained limits the nodes whose causes are read. The others are in the list of nodes.
const maxExplained = 10;

export function Overview({ status }: { status: Status }) {
  const stuck = status.cleanups.filter((one) => one.stuck);
  const moving = status.cleanups.filter((one) => !one.stuck);
  return (
    <>
      <h1>{summary(status, stuck.length)}</h1>
      {status.next && !(stuck.length > 0 && status.next.startsWith("kubectl nodecleanup diagnose ")) && (
        <p class="next">
          <b>Next:</b> <Advice text={status.next} />
        </p>
      )}
      {stuck.length > 0 && (
        <section aria-labelledby="stuck">
          <h2 id="stuck">Nodes that need an operator ({stuck.length})</h2>
          {stuck.slice(0, maxExplained).map((one) => (
            <Stuck key={one.node} cleanup={one} round={roundOf(status)} />
          ))}
          {stuck.length > maxExplained && (
            <p>
              <a href="#/nodes?stuck=1">All {stuck.length} nodes that need an operator</a>
            </p>
          )}
        </section>
      )}
      {moving.length > 0 && (
        <section aria-labelledby="moving">
          <h2 id="moving">Cleanups in progress ({moving.length})</h2>
          <table>
            <thead>
              <tr>
                <th>Node</th>
                <th>State</th>
                <th>Step</th>
                <th>Began</th>
                <th>Progress</th>
              </tr>
            </thead>
            <tbody>
              {moving.slice(0, 50).map((one) => (
                <tr key={one.node}>
                  <td>
                    <a href={`#/node/${one.node}`}>{one.node}</a>
                  </td>
                  <td>
                    <State of={one.state} />
                  </td>
                  <td>{one.step ?? "-"}</td>
                  <td>
                    <Time at={one.since} />
                  </td>
                  <td>
                    {one.counts && (
                      <progress max={Math.max(1, one.counts.total)} value={one.counts.done} aria-label={`${one.counts.done} of ${one.counts.total}`} />
                    )}{" "}
                    {one.reason}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
          {moving.length > 50 && (
            <p>
              <a href="#/nodes?state=cleaning">All {moving.length} cleanups</a>
            </p>
          )}
        </section>
      )}
      <section aria-labelledby="health">
        <h2 id="health">Health</h2>
        <table>
          <thead>
            <tr>
              <th>Part</th>
              <th>Health</th>
              <th>What is known</th>
            </tr>
          </thead>
          <tbody>
            {status.pause && (
              <tr>
                <th scope="row">Pause</th>
                <td>
                  <State of="Waiting" />
                </td>
                <td>
                  {status.pause.by ? `paused by ${status.pause.by}` : status.pause.cause} {status.pause.since && <Time at={status.pause.since} />} {status.pause.reason}
                </td>
              </tr>
            )}
            <PartRow name="Agent" part={status.agent} more={`${status.agent.outside ? "runs outside the cluster" : `${status.agent.ready} of ${status.agent.replicas} ready`}, version ${status.agent.version || "unknown"}`} />
            <PartRow name="Admission" part={status.admission} more={(status.admission.ways ?? []).join(", ")} />
            <PartRow name="Delete guard" part={status.guard} />
            <PartRow name="Config" part={status.config} more={status.config.hash} />
            {(status.plugins ?? []).map((one) => (
              <PartRow key={"step " + one.step} name={`Step ${one.step}`} part={one} more={one.plugin} />
            ))}
            {(status.notifications ?? []).map((one) => (
              <PartRow key={"notification " + one.name} name={`Notification ${one.name}`} part={one} more={one.plugin} />
            ))}
          </tbody>
        </table>
      </section>
      <section aria-labelledby="counts">
        <h2 id="counts">Nodes</h2>
        <ul class="counts">
          <Count label="all" value={status.nodes.total} link="#/nodes" />
          <Count label="protected" value={status.nodes.protected} link="#/nodes?protected=yes" />
          <Count label="unprotected" value={status.nodes.unprotected} link="#/nodes?protected=no" />
          {!!status.nodes.bypassed && <Count label="marked for bypass" value={status.nodes.bypassed} link="#/nodes?protected=bypass" />}
          {!!status.nodes.excluded && <Count label="excluded by the nodeSelector" value={status.nodes.excluded} link="#/nodes?protected=no" />}
        </ul>
      </section>
    </>
  );
}

function summary(status: Status, stuck: number): string {
  if (stuck > 0) return stuck === 1 ? "One node needs an operator" : `${stuck} nodes need an operator`;
  if (!status.healthy) return "nodecleanup needs attention";
  if (status.pause) return "Cleanups are paused";
  return status.cleanups.length > 0 ? "Cleanups make progress" : "Everything is in order";
}

function Count({ label, value, link }: { label: string; value: number; link: string }) {
  return (
    <li>
      <a href={link}>
        <b>{value}</b> {label}
      </a>
    </li>
  );
}

function PartRow({ name, part, more }: { name: string; part: Part; more?: string }) {
  return (
    <tr>
      <th scope="row">{name}</th>
      <td>
        <State of={part.health} />
      </td>
      <td>
        {part.problem || more || "-"}
        {part.remedy && (
          <div>
            <Advice text={part.remedy} />
          </div>
        )}
      </td>
    </tr>
  );
}

// roundOf returns a number that changes every 15 seconds. Causes are read again with each: a budget or a Secret that has been
// repaired changes nothing that the agent says before its next attempt.
export const roundOf = (status: Status): number => Math.floor(Date.parse(status.time) / 15_000);

function Stuck({ cleanup, round }: { cleanup: Cleanup; round: number }) {
  const { value, failure } = useGet<Diagnosis>(`/api/nodes/${cleanup.node}/diagnosis`, cleanup.state, cleanup.step, cleanup.reason, round);
  return (
    <article class="stuck" aria-label={`Node ${cleanup.node}`}>
      <h3>
        <a href={`#/node/${cleanup.node}`}>{cleanup.node}</a> <State of={cleanup.state} /> {cleanup.step} <Time at={cleanup.since} />
      </h3>
      {value ? <Causes of={value} /> : <p>{cleanup.reason}</p>}
      <Problem failure={failure} />
    </article>
  );
}

// Causes shows why a node still exists, and what to do, in the words of kubectl nodecleanup diagnose.
export function Causes({ of }: { of: Diagnosis }) {
  if (of.causes.length === 0) return <p>No cause is known that needs an operator.</p>;
  return (
    <ol class="causes">
      {of.causes.map((cause) => (
        <li key={cause.id + cause.text}>
          <p>{cause.text}</p>
          <ul>
            {(cause.options ?? []).map((option) => (
              <li key={option}>
                <Advice text={option} />
              </li>
            ))}
          </ul>
        </li>
      ))}
    </ol>
  );
}
