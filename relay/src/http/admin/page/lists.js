// Accounts, consumers, domains and the audit.

import { ago, ask, attempt, byId, bytes, element, fillFacts, get, number, onSubmit, send } from "./dom.js";
import { Table } from "./table.js";

const HIDDEN = { inactive: "it is not active here", verified: "a verification found it inactive at its host" };

const button = (text, onclick) => element("button", { type: "button", className: "grave", onclick }, text);

export const accounts = {
  setUp() {
    this.table = new Table(byId("takedowns-table"), {
      key: (row) => row.did,
      empty: "No account is taken down here.",
      columns: [
        { label: "DID", value: (row) => row.did },
        { label: "", make: (row) => [element("button", { type: "button", onclick: () => this.show(row().did) }, "Look up")] },
      ],
    });
    onSubmit(byId("accounts-find"), ({ did }) => this.show(did.trim()));
  },

  async refresh() {
    const dids = [];
    let cursor = "";
    do {
      const page = await get("/admin/repo/takedowns", { cursor });
      dids.push(...page.dids);
      cursor = page.cursor ?? "";
    } while (cursor !== "" && dids.length < 10000);
    this.table.show(dids.map((did) => ({ did })));
  },

  async show(did) {
    byId("account").replaceChildren();
    byId("account-actions").replaceChildren();
    const account = await attempt("", () => get("/admin/accounts", { did }));
    if (!account) return;
    // Of an account that the directory alone knows, nothing else is known.
    const yes = (fact) => (fact === undefined ? "" : fact ? "yes" : "no");
    fillFacts(byId("account"), [
      ["DID", account.did],
      ["Active", yes(account.active)],
      ["Status", account.status],
      ["Host", account.host],
      ["Status at its host", account.hostStatus],
      ["Rev", account.rev],
      ["Commit", account.commit],
      ["Data", account.data],
      ["Taken down here", yes(account.takenDown)],
      ["Held back by its host's limit", account.held ? "yes" : ""],
      ["Commits that did not continue what was known", number(account.discontinuities)],
      ["Collections", account.collections.join(", ")],
      ["Not shown in the directory", HIDDEN[account.hidden]],
    ]);
    const decide = async (question, verb, path) => {
      if (!(await ask(question, verb))) return;
      await attempt(`${verb}: done.`, () => send("POST", path, { body: { did } }));
      await this.refresh();
      const notice = byId("notice").textContent;
      await this.show(did);
      byId("notice").textContent = notice;
    };
    const reverse = () => decide(`Let ${did} come back?`, "Reverse the takedown", "/admin/repo/reverseTakedown");
    const takeDown = () => decide(`Take ${did} down? Nothing of it passes any more.`, "Take down", "/admin/repo/takeDown");
    byId("account-actions").append(account.takenDown ? button("Reverse the takedown", reverse) : button("Take down", takeDown));
  },
};

export const consumers = {
  setUp() {
    this.table = new Table(byId("consumers-table"), {
      key: (consumer) => consumer.id,
      empty: "No consumer is connected.",
      columns: [
        { label: "Address", value: (consumer) => consumer.remote_addr },
        { label: "User agent", value: (consumer) => consumer.user_agent, long: true },
        { label: "State", value: (consumer) => consumer.state, mark: (consumer) => consumer.state },
        { label: "Position", value: (consumer) => consumer.cursor, text: (consumer) => number(consumer.cursor), numeric: true },
        { label: "Behind, events", value: (consumer) => consumer.lag, text: (consumer) => number(consumer.lag), numeric: true },
        { label: "Sent, events", value: (consumer) => consumer.events_consumed, text: (consumer) => number(consumer.events_consumed), numeric: true },
        { label: "Sent", value: (consumer) => consumer.bytes, text: (consumer) => bytes(consumer.bytes), numeric: true },
        { label: "Connected", value: (consumer) => consumer.connected_at, text: (consumer) => ago(consumer.connected_at) },
        { label: "", make: (row) => [button("Disconnect", () => this.disconnect(row()))] },
      ],
    });
  },

  async refresh() {
    this.table.show(await get("/admin/consumers/list"));
  },

  async disconnect({ id, remote_addr: address }) {
    await attempt(`The consumer at ${address} is disconnected.`, () => send("POST", "/admin/consumers/disconnect", { query: { id } }));
    await this.refresh();
  },
};

export const domains = {
  setUp() {
    this.table = new Table(byId("domains-table"), {
      key: (row) => row.domain,
      empty: "No domain is banned.",
      columns: [
        { label: "Domain", value: (row) => row.domain },
        { label: "", make: (row) => [button("Lift the ban", () => this.change("unbanDomain", row().domain, "is not banned any more"))] },
      ],
    });
    onSubmit(byId("domains-ban"), async ({ domain }, form) => {
      if (!(await ask(`Ban ${domain} and every host in it?`, "Ban"))) return;
      if (await this.change("banDomain", domain, "is banned")) form.reset();
    });
  },

  async refresh() {
    const { banned_domains: banned } = await get("/admin/subs/listDomainBans");
    this.table.show(banned.map((domain) => ({ domain })));
  },

  async change(verb, domain, done) {
    const changed = await attempt(`${domain} ${done}.`, () => send("POST", `/admin/subs/${verb}`, { body: { domain } }));
    await this.refresh();
    return changed;
  },
};

export const audit = {
  rows: [],

  setUp() {
    this.table = new Table(byId("audit-table"), {
      key: (row) => row.id,
      empty: "Nobody has decided anything yet.",
      columns: [
        { label: "When", value: (row) => row.at_ms, text: (row) => new Date(row.at_ms).toISOString().replace("T", " ").slice(0, 19) },
        { label: "Who", value: (row) => row.actor },
        { label: "What", value: (row) => row.action },
        { label: "Of", value: (row) => row.subject, long: true },
        { label: "How", value: (row) => row.detail, long: true },
      ],
    });
    byId("audit-older").addEventListener("click", () => attempt("", () => this.older()));
  },

  async refresh() {
    const newest = await get("/admin/audit");
    const oldest = newest.at(-1)?.id ?? 0;
    this.rows = [...newest, ...this.rows.filter((row) => row.id < oldest)];
    this.table.show([...this.rows]);
  },

  async older() {
    const last = this.rows.at(-1);
    if (!last) return;
    const page = await get("/admin/audit", { before: last.id });
    this.rows.push(...page);
    this.table.show([...this.rows]);
    byId("audit-older").disabled = page.length === 0;
  },
};
