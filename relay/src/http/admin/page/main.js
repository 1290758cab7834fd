// The page: which view is shown, and when it is read anew.

import { backfill, collections } from "./backfill.js";
import { ago, byId, bytes, duration, fillFacts, get, number, tell } from "./dom.js";
import * as hosts from "./hosts.js";
import { accounts, audit, consumers, domains } from "./lists.js";
import * as memory from "./memory.js";
import { Table } from "./table.js";

const REFRESH_MS = 3000;
/** A list of thousands of hosts or collections is some megabytes. */
const REFRESH_MANY_ROWS_MS = 15000;
const MANY_ROWS = 500;

const state = {
  setUp() {
    memory.setUp();
    this.dropped = new Table(byId("dropped-table"), {
      key: (row) => row.reason,
      empty: "No event was dropped since the start.",
      sort: { index: 1, descending: true },
      columns: [
        { label: "Reason", value: (row) => row.reason },
        { label: "Events", value: (row) => row.count, text: (row) => number(row.count), numeric: true },
      ],
    });
  },

  async refresh() {
    memory.show(await get("/admin/memory"));
  },

  show({ log, seq, events }) {
    fillFacts(byId("log"), [
      ["Oldest event", ago(log.oldestAt)],
      ["Window", duration(log.windowSeconds)],
      ["First seq", number(seq.first)],
      ["Last seq", number(seq.last)],
      ["Size", bytes(log.bytes)],
      ["Files", number(log.segments)],
    ]);
    this.dropped.show(Object.entries(events.droppedByReason).map(([reason, count]) => ({ reason, count })));
  },
};

const views = { hosts, accounts, collections, backfill, consumers, domains, state, audit };
/** The name in `#/name`; not an element's id, to which the browser would scroll. */
const current = () => Object.keys(views).find((name) => location.hash === `#/${name}`) ?? "hosts";

function showStatus(status) {
  const ready = byId("ready");
  ready.textContent = status.ready ? "delivers" : status.draining ? "is stopping" : "does not deliver";
  ready.className = `badge ${status.ready ? "yes" : "no"}`;
  byId("software").textContent = `${status.software}, started ${ago(status.startedAt)}`;
  fillFacts(byId("summary"), [
    ["Events per second", number(status.events.perSecond)],
    ["Last seq", number(status.seq.last)],
    ["Hosts connected", `${number(status.hosts.connected)} of ${number(status.hosts.total)}`],
    ["Accounts", number(status.accounts)],
    ["Consumers", number(status.consumers.connected)],
    ["Memory", `${bytes(status.memory.workingSetBytes)} of ${bytes(status.memory.limitBytes)}`],
    ["Event log", bytes(status.log.bytes)],
  ]);
  state.show(status);
}

let timer;

/** Reads status and view, and does so again after a while. A page that nobody sees waits until somebody does. */
async function refresh() {
  clearTimeout(timer);
  let pause = REFRESH_MS;
  try {
    const [status, rows] = await Promise.all([get("/admin/status"), views[current()].refresh()]);
    showStatus(status);
    if (rows > MANY_ROWS) pause = REFRESH_MANY_ROWS_MS;
    if (refresh.failed) tell("");
    refresh.failed = false;
  } catch (error) {
    refresh.failed = true;
    tell("", error.message);
  }
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, pause);
}

function showView() {
  const view = current();
  for (const name of Object.keys(views)) {
    byId(name).hidden = name !== view;
    const link = document.querySelector(`nav a[href="#/${name}"]`);
    if (name === view) link.ariaCurrent = "page";
    else link.removeAttribute("aria-current");
  }
  tell("");
  refresh();
}

Object.values(views).forEach((view) => view.setUp());
addEventListener("hashchange", showView);
document.addEventListener("visibilitychange", () => !document.hidden && refresh());
showView();
