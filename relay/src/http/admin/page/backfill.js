// The directory of collections, and the jobs that fill it.

import { ago, ask, attempt, byId, duration, element, fillFacts, get, number, send } from "./dom.js";
import { Table } from "./table.js";

/** All rows of a list that comes in pages, up to so many. */
async function pages(path, field, limit, max) {
  const rows = [];
  let cursor = "";
  do {
    const page = await get(path, { limit, cursor });
    rows.push(...page[field]);
    cursor = page.cursor ?? "";
  } while (cursor !== "" && rows.length < max);
  return rows;
}

export const collections = {
  setUp() {
    this.table = new Table(byId("collections-table"), {
      key: (row) => row.collection,
      empty: "The directory is empty: no commit has come yet, and no job has filled it.",
      sort: { index: 1, descending: true },
      columns: [
        { label: "Collection", value: (row) => row.collection },
        { label: "Accounts", value: (row) => row.accounts, text: (row) => number(row.accounts), numeric: true },
      ],
    });
    byId("collections-search").addEventListener("input", (event) => {
      const search = event.target.value.trim().toLowerCase();
      this.table.filter((row) => row.collection.toLowerCase().includes(search));
    });
  },

  async refresh() {
    const rows = await pages("/admin/collections", "collections", 10000, 100000);
    fillFacts(byId("collections-facts"), [
      ["Collections", number(rows.length)],
      ["Pairs of an active account and a collection", number(rows.reduce((sum, row) => sum + row.accounts, 0))],
    ]);
    this.table.show(rows);
    return rows.length;
  },
};

const PARTS_MAX = 5000;

const hasEnded = (job) => ["done", "failed", "cancelled"].includes(job.state);
const isRunning = (job) => job.state === "running";
const perSecond = (job) => (isRunning(job) ? `${number(Math.round(job.progress.perSecond))}/s` : "");
const left = (job) => (isRunning(job) && "etaSeconds" in job.progress ? duration(job.progress.etaSeconds) : "");
const ended = ({ partsDone, partsFailed }) => partsDone + partsFailed;
const at = (what, when) => [what, ago(when)].filter(Boolean).join(", ");
const until = (time) => (time ? `goes on at ${new Date(time).toLocaleString()}` : "");
const why = (job) => [job.reason, until(job.waitsUntil)].filter(Boolean).join(", ");

/** What a person may want of a job as it stands. */
function next(job) {
  if (hasEnded(job)) return { action: "run", label: "Run again", done: "begins anew" };
  if (job.state === "paused") return { action: "resume", label: "Resume", done: "goes on" };
  return { action: "pause", label: "Pause", done: "is paused" };
}

export const backfill = {
  shown: null,

  setUp() {
    const progress = (read) => ({ value: (job) => read(job.progress), text: (job) => number(read(job.progress)), numeric: true });
    this.table = new Table(byId("backfill-table"), {
      key: (job) => job.name,
      empty: "There is no job. The Relay's spec.backfill declares them, and `relay backfill start` starts them.",
      columns: [
        { label: "Job", value: (job) => job.name },
        { label: "Kind", value: (job) => job.spec.kind },
        { label: "State", value: (job) => job.state, mark: (job) => job.state },
        { label: "Parts", make: () => [element("progress"), element("span")], update: showParts },
        { label: "Seen", ...progress(({ seen }) => seen) },
        { label: "Added", ...progress(({ added }) => added) },
        { label: "Rate", value: (job) => job.progress.perSecond, text: perSecond, numeric: true },
        { label: "Left", value: (job) => job.progress.etaSeconds, text: left, numeric: true },
        { label: "Why", value: why, long: true },
        { label: "", make: (row) => this.actions(row), update: showActions },
      ],
    });
    this.parts = new Table(byId("job-parts"), {
      key: (part) => part.key,
      empty: "It has no parts yet.",
      columns: [
        { label: "Part", value: (part) => part.key, long: true },
        { label: "State", value: (part) => part.state, mark: (part) => part.state },
        { label: "Seen", value: (part) => part.seen, text: (part) => number(part.seen), numeric: true },
        { label: "Added", value: (part) => part.added, text: (part) => number(part.added), numeric: true },
        { label: "Next", value: (part) => part.cursor, long: true },
        { label: "Error", value: (part) => part.error, long: true },
      ],
    });
    byId("job-close").addEventListener("click", () => byId("job").close());
    byId("job").addEventListener("close", () => (this.shown = null));
  },

  async refresh() {
    const { jobs } = await get("/admin/backfill/jobs");
    this.table.show(jobs);
    const shown = jobs.find((job) => job.name === this.shown);
    if (shown) await this.showDetails(shown);
  },

  actions(row) {
    const change = async (action, done) => {
      const { name } = row();
      await attempt(`${name} ${done}.`, () => send("POST", `/admin/backfill/jobs/${encodeURIComponent(name)}/${action}`));
      await this.refresh();
    };
    const go = () => {
      const { action, done } = next(row());
      return change(action, done);
    };
    const cancel = async () => {
      if (await ask(`Cancel ${row().name}? What it has found stays.`, "Cancel the job")) await change("cancel", "is cancelled");
    };
    const open = async () => {
      this.shown = row().name;
      this.parts.show([]);
      byId("job").showModal();
      await attempt("", () => this.showDetails(row()));
    };
    return [
      element("button", { type: "button", onclick: go }),
      element("button", { type: "button", className: "grave", onclick: cancel }, "Cancel"),
      element("button", { type: "button", onclick: open }, "More…"),
    ];
  },

  async showDetails(job) {
    const { spec, progress } = job;
    const wanted = spec.collections ?? {};
    byId("job-title").textContent = job.name;
    fillFacts(byId("job-details"), [
      ["State", job.state],
      ["Why", why(job)],
      ["Kind", spec.kind],
      ["Sources", spec.sources?.join(", ")],
      ["Collections", wanted.names?.join(", ")],
      ["Lists of collections", wanted.lists?.join(", ")],
      ["Collections seen here", wanted.seen ? "yes" : ""],
      ["Collections that the sources list", wanted.ofSources ? "yes" : ""],
      ["Hosts", spec.hosts?.join(", ")],
      ["Schedule", spec.schedule],
      ["Declared by", spec.declaredBy],
      ["Works on", [progress.current, progress.cursor].filter(Boolean).join(", after ")],
      ["Came further", ago(progress.movedAt)],
      ["Removed", progress.removed > 0 ? number(progress.removed) : ""],
      ["To be asked again", progress.retrying > 0 ? number(progress.retrying) : ""],
      ["Accounts by class", Object.entries(progress.classes ?? {}).map(([name, count]) => `${number(count)} ${name}`).join(", ")],
      ["Last error", at(job.lastError, job.lastErrorAt)],
      ["Runs", number(job.run)],
      ["Resumed after starts of the relay", job.resumes > 0 ? number(job.resumes) : ""],
      ["Resumed from", at(job.resumedFrom, job.resumedAt)],
      ["Started", ago(job.startedAt)],
      ["Finished", ago(job.finishedAt)],
      ["Next run", job.nextRunAt],
    ]);
    this.parts.show(await pages(`/admin/backfill/jobs/${encodeURIComponent(job.name)}/parts`, "parts", 500, PARTS_MAX));
  },
};

function showParts(cell, { name, progress }) {
  const [bar, text] = cell.children;
  bar.max = Math.max(progress.parts, 1);
  bar.value = ended(progress);
  bar.ariaLabel = `Parts of ${name} that have ended`;
  const failed = progress.partsFailed > 0 ? `, ${number(progress.partsFailed)} failed` : "";
  text.textContent = ` ${number(ended(progress))} of ${number(progress.parts)}${failed}`;
}

function showActions(cell, job) {
  const [go, cancel, more] = cell.children;
  const { label } = next(job);
  go.textContent = label;
  go.ariaLabel = `${label}: ${job.name}`;
  go.hidden = job.spec.kind === "pairs" && hasEnded(job);
  cancel.hidden = hasEnded(job);
  cancel.ariaLabel = `Cancel ${job.name}`;
  more.ariaLabel = `More of ${job.name}`;
}
