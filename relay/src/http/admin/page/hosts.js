// The hosts: list, search, and what can be done about one.

import { ago, ask, attempt, byId, duration, element, fillFacts, get, number, onSubmit, send } from "./dom.js";
import { Table } from "./table.js";

const limited = (count, limit) => (limit === null ? number(count) : `${number(count)} / ${number(limit)}`);

let table;
let search = "";
let state = "";
let shownId = null;

export function setUp() {
  table = new Table(byId("hosts-table"), {
    key: (host) => host.id,
    empty: "The relay knows no host yet.",
    columns: [
      { label: "Host", value: (host) => host.host },
      { label: "State", value: (host) => host.status, mark: (host) => host.status },
      { label: "Connected", value: (host) => (host.connected ? "yes" : "no") },
      { label: "Lag", value: (host) => host.lagSeconds, text: lag, numeric: true },
      { label: "Accounts", value: (host) => host.accounts, text: (host) => limited(host.accounts, host.accountLimit), numeric: true },
      { label: "Events/s limit", value: (host) => host.eventsPerSecondLimit, text: (host) => number(host.eventsPerSecondLimit), numeric: true },
      { label: "Received", value: (host) => host.received, text: (host) => number(host.received), numeric: true },
      { label: "Dropped", value: (host) => host.dropped, text: (host) => number(host.dropped), numeric: true },
      { label: "Last error", value: (host) => host.lastError, long: true, title: (host) => [host.lastError, ago(host.lastErrorAt)].filter(Boolean).join(", ") },
      { label: "", make: actions, update: updateActions },
    ],
  });
  byId("hosts-search").addEventListener("input", (event) => {
    search = event.target.value.trim().toLowerCase();
    table.filter(fits);
  });
  byId("hosts-state").addEventListener("change", (event) => {
    state = event.target.value;
    table.filter(fits);
  });
  onSubmit(byId("hosts-add"), async ({ hostname }, form) => {
    const added = await attempt(`${hostname} is added.`, () => send("POST", "/admin/pds/requestCrawl", { body: { hostname } }));
    if (added) form.reset();
    await refresh();
  });
  byId("request-crawl").addEventListener("change", (event) => {
    const enabled = event.target.checked;
    const done = enabled ? "Anyone may name hosts." : "Nobody but an operator may name hosts.";
    attempt(done, () => send("POST", "/admin/subs/setEnabled", { query: { enabled } }));
  });
  setUpDialog();
}

export async function refresh() {
  const [hosts, crawl] = await Promise.all([get("/admin/pds/list"), get("/admin/subs/getEnabled")]);
  byId("request-crawl").checked = crawl.enabled;
  table.show(hosts);
  return hosts.length;
}

function fits(host) {
  const text = `${host.host} ${host.lastError ?? ""}`.toLowerCase();
  return (state === "" || host.status === state) && text.includes(search);
}

function lag(host) {
  return host.connected && typeof host.lagSeconds === "number" ? duration(host.lagSeconds) : "";
}

const block = (host) => attempt(`${host.host} is banned.`, () => send("POST", "/admin/pds/block", { query: { host: host.host } }));
const unblock = (host) => attempt(`${host.host} is let in again.`, () => send("POST", "/admin/pds/unblock", { query: { host: host.host } }));

function actions(row) {
  const toggle = async () => {
    await (row().status === "banned" ? unblock(row()) : block(row()));
    await refresh();
  };
  return [
    element("button", { type: "button", className: "grave", onclick: toggle }),
    element("button", { type: "button", onclick: () => open(row()) }, "More…"),
  ];
}

function updateActions(cell, host) {
  const [toggle, more] = cell.children;
  toggle.textContent = host.status === "banned" ? "Unblock" : "Block";
  toggle.ariaLabel = `${toggle.textContent} ${host.host}`;
  more.ariaLabel = `More of ${host.host}`;
}

function open(host) {
  shownId = host.id;
  showDetails(host);
  byId("host-limits").reset();
  byId("host-validation").reset();
  byId("host").showModal();
}

function showDetails(host) {
  byId("host-title").textContent = host.host;
  byId("host-ban").textContent = host.status === "banned" ? "Unblock" : "Block";
  fillFacts(byId("host-details"), [
    ["State", host.connected ? `${host.status}, connected` : host.status],
    ["Connected", ago(host.connectedAt)],
    ["Known since", host.CreatedAt],
    ["Cursor", number(host.cursor)],
    ["Lag", lag(host)],
    ["Last event", ago(host.lastEventAt)],
    ["Accounts", limited(host.accounts, host.accountLimit)],
    ["Accounts held back by the limit", number(host.accountsHeld)],
    ["Events per second at most", host.eventsPerSecondLimit === null ? "no limit" : number(host.eventsPerSecondLimit)],
    ["Policy for invalid events", host.validation],
    ["Received, passed, dropped", [host.received, host.passed, host.dropped].map(number).join(", ")],
    ["Connections made", number(host.connects)],
    ["Last error", [host.lastError, ago(host.lastErrorAt)].filter(Boolean).join(", ")],
    ["Next try", host.nextTryAt],
  ]);
}

function setUpDialog() {
  const name = () => byId("host-title").textContent;
  const change = async (done, path, request) => {
    await attempt(done, () => send("POST", path, request));
    byId("host").close();
    await refresh();
  };
  const setLimits = (limits) => {
    const done = ({ accountsLetIn }) => `The limits are set${accountsLetIn ? `; ${accountsLetIn} accounts are let in` : ""}.`;
    change(done, "/admin/pds/changeLimits", { body: { host: name(), ...limits } });
  };
  onSubmit(byId("host-limits"), (limits) => {
    const given = Object.entries(limits).filter(([, limit]) => limit !== "");
    setLimits(Object.fromEntries(given.map(([key, limit]) => [key, Number(limit)])));
  });
  byId("host-limits-default").addEventListener("click", () => setLimits({ account_limit: null, events_per_second: null }));
  onSubmit(byId("host-validation"), ({ validation }) => {
    change("The policy is set.", "/admin/pds/setValidation", { body: { host: name(), validation: validation || null } });
  });
  byId("host-reconnect").addEventListener("click", () => {
    change(`${name()} is being connected again.`, "/admin/subs/killUpstream", { query: { host: name(), block: false } });
  });
  byId("host-reset").addEventListener("click", async () => {
    const question = `Read ${name()} from its live stream on? What it sent since its cursor is missed.`;
    if (await ask(question, "Reset cursor")) {
      change(`The cursor of ${name()} is reset.`, "/admin/pds/resetCursor", { query: { host: name() } });
    }
  });
  byId("host-ban").addEventListener("click", async (event) => {
    await (event.target.textContent === "Block" ? block : unblock)({ host: name(), id: shownId });
    byId("host").close();
    await refresh();
  });
  byId("host-close").addEventListener("click", () => byId("host").close());
}
