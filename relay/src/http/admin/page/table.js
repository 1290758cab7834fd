// A table that sorts by its heads and shows a page of its rows. Rows keep their elements from one refresh to the next, so
// that the focus and a selection stay where they are.

import { element } from "./dom.js";

const ROWS_PER_PAGE = 50;

/**
 * Columns: `label`; `value(row)` to sort by; `text(row)` to show, by default the value; `numeric`; `long`;
 * `mark(row)`, a class for the cell's badge; `make(row)`, elements instead of text, made once for each row.
 */
export class Table {
  #columns;
  #key;
  #empty;
  #rows = [];
  #keep = () => true;
  #sort;
  #page = 0;
  #lines = new Map();
  #heads;
  #body = element("tbody");
  #count = element("span");
  #previous = element("button", { type: "button", onclick: () => this.#turn(-1) }, "Previous");
  #next = element("button", { type: "button", onclick: () => this.#turn(1) }, "Next");

  constructor(place, { columns, key, empty, sort = null }) {
    this.#columns = columns;
    this.#key = key;
    this.#empty = empty;
    this.#sort = sort;
    this.#heads = columns.map((column, index) => this.#head(column, index));
    const head = element("thead", {}, element("tr", {}, ...this.#heads));
    const pages = element("div", { className: "pages" }, this.#previous, this.#next, this.#count);
    place.replaceChildren(element("div", { className: "wide" }, element("table", {}, head, this.#body)), pages);
  }

  /** The rows to show from now on. */
  show(rows) {
    this.#rows = rows;
    const keys = new Set(rows.map(this.#key));
    for (const key of this.#lines.keys()) if (!keys.has(key)) this.#lines.delete(key);
    this.#draw();
  }

  /** Shows those rows alone for which `keep` holds. */
  filter(keep) {
    this.#keep = keep;
    this.#page = 0;
    this.#draw();
  }

  #head(column, index) {
    const head = element("th", { scope: "col", className: column.numeric ? "number" : "" });
    if (column.value) {
      head.append(element("button", { type: "button", onclick: () => this.#sortBy(index) }, column.label));
    } else {
      head.append(column.label);
    }
    return head;
  }

  #sortBy(index) {
    // Numbers are looked at from the largest on.
    const first = Boolean(this.#columns[index].numeric);
    const descending = this.#sort?.index === index ? !this.#sort.descending : first;
    this.#sort = { index, descending };
    this.#page = 0;
    this.#draw();
  }

  #turn(by) {
    this.#page += by;
    this.#draw();
  }

  #sorted() {
    const kept = this.#rows.filter(this.#keep);
    if (!this.#sort) return kept;
    const { value } = this.#columns[this.#sort.index];
    const direction = this.#sort.descending ? -1 : 1;
    return kept.sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      // What is not known comes last, whatever the direction.
      const [noA, noB] = [a === null || a === undefined || a === "", b === null || b === undefined || b === ""];
      if (noA || noB) return noA - noB;
      return direction * (typeof a === "number" ? a - b : String(a).localeCompare(String(b)));
    });
  }

  #draw() {
    this.#heads.forEach((head, index) => {
      if (this.#sort?.index === index) head.ariaSort = this.#sort.descending ? "descending" : "ascending";
      else head.removeAttribute("aria-sort");
    });
    const rows = this.#sorted();
    const last = Math.max(0, Math.ceil(rows.length / ROWS_PER_PAGE) - 1);
    this.#page = Math.min(Math.max(this.#page, 0), last);
    const start = this.#page * ROWS_PER_PAGE;
    const shown = rows.slice(start, start + ROWS_PER_PAGE);
    this.#place(shown.length > 0 ? shown.map((row) => this.#line(row)) : [this.#nothing()]);
    this.#previous.disabled = this.#page === 0;
    this.#next.disabled = this.#page === last;
    this.#previous.hidden = this.#next.hidden = last === 0;
    const all = rows.length === this.#rows.length ? `${rows.length}` : `${rows.length} of ${this.#rows.length}`;
    this.#count.textContent = last === 0 ? `${all} ${rows.length === 1 ? "row" : "rows"}` : `${start + 1}–${start + shown.length} of ${all}`;
  }

  /** Puts lines in place without touching those that are there already: an element that is moved loses the focus. */
  #place(lines) {
    const wanted = new Set(lines);
    for (const line of [...this.#body.children]) if (!wanted.has(line)) line.remove();
    lines.forEach((line, index) => {
      const there = this.#body.children[index];
      if (there !== line) this.#body.insertBefore(line, there ?? null);
    });
  }

  #nothing() {
    const text = this.#rows.length > 0 ? "Nothing fits." : this.#empty;
    return element("tr", {}, element("td", { className: "empty", colSpan: this.#columns.length }, text));
  }

  #line(row) {
    const key = this.#key(row);
    let line = this.#lines.get(key);
    if (!line) {
      line = element("tr", {}, ...this.#columns.map(() => element("td")));
      this.#lines.set(key, line);
    }
    line.row = row;
    this.#columns.forEach((column, index) => fill(line, line.cells[index], column));
    return line;
  }
}

function fill(line, cell, column) {
  const { row } = line;
  if (column.make) {
    if (!cell.hasChildNodes()) cell.append(...column.make(() => line.row));
    column.update?.(cell, row);
    return;
  }
  const text = String((column.text ?? column.value)(row) ?? "");
  if (cell.textContent !== text) cell.textContent = "";
  if (cell.textContent !== text) cell.append(column.mark ? element("span", { className: "badge" }, text) : text);
  if (column.mark && cell.firstElementChild) cell.firstElementChild.className = `badge ${column.mark(row)}`;
  cell.className = [column.numeric && "number", column.long && "long"].filter(Boolean).join(" ");
  cell.title = column.title?.(row) ?? (column.long ? text : "");
}
