// Elements, numbers, requests. Text from elsewhere becomes a text node and nothing else.

export const byId = (id) => document.getElementById(id);

/** An element with properties (`className`, `onclick`, …) and children, which may be text. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const decimal = new Intl.NumberFormat("en");
export const number = (value) => (typeof value === "number" ? decimal.format(value) : "");

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${decimal.format(value < 10 && unit > 0 ? Math.round(value * 10) / 10 : Math.round(value))} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

/** How long ago a time was; empty when there is none. */
export const ago = (time) => (time ? `${duration(Math.max(0, (Date.now() - new Date(time)) / 1000))} ago` : "");

/** Fills a description list with the facts that have a value. */
export function fillFacts(list, facts) {
  const shown = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const pair = ([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))];
  const wrapped = list.classList.contains("facts");
  list.replaceChildren(...shown.flatMap((fact) => (wrapped ? [element("div", {}, ...pair(fact))] : pair(fact))));
}

/** Sends a request and gives the JSON of the answer; an error says what the relay says. */
export async function send(method, path, { query = {}, body } = {}) {
  // The page's own URL may carry the token, which a relative URL would inherit and `fetch` refuses.
  const url = new URL(path, location.origin);
  url.search = new URLSearchParams(query);
  const json = body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  let response;
  try {
    response = await fetch(url, { method, ...json });
  } catch {
    throw new Error("The relay does not answer.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401) throw new Error("The token is not valid any more; reload the page.");
  throw new Error(answer.message ?? `${path} answered ${response.status}.`);
}

export const get = (path, query) => send("GET", path, { query });

/** Shows what was done, or what went wrong. */
export function tell(notice, trouble = "") {
  byId("notice").textContent = notice;
  byId("trouble").textContent = trouble;
}

/** Does something that a person asked for, and shows how it went. */
export async function attempt(done, work) {
  try {
    const answer = await work();
    tell(typeof done === "function" ? done(answer) : done);
    return answer;
  } catch (error) {
    tell("", error.message);
    return undefined;
  }
}

/** Calls `work` with the fields of a form when it is submitted. */
export function onSubmit(form, work) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    work(Object.fromEntries(new FormData(form)), form);
  });
}

/** Asks before something that cannot be taken back easily. */
export function ask(question, verb) {
  const dialog = byId("question");
  byId("question-text").textContent = question;
  byId("question-yes").textContent = verb;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
