// Memory: how much there is, who holds it, what it is made of, and where it is going.

import { byId, bytes, duration, element, fillFacts } from "./dom.js";
import { Table } from "./table.js";

const LIMIT_SOURCES = {
  cgroup2: "memory.max of the cgroup",
  cgroup1: "memory.limit_in_bytes of the cgroup",
  setting: "memory-limit",
  machine: "the machine's memory",
};

const PARTS = {
  owned: "heap that the owners above count",
  heap: "heap that no owner counts",
  fragmentation: "gaps in the heap",
  allocator: "what the allocator needs for itself, and keeps for the next who asks",
  stacks: "stacks of threads, as far as they were touched",
  program: "what the program has written of its own pages",
  mapped: "files that are mapped, the program's text above all",
  "page-cache": "files that the kernel takes for being in use",
  tmpfs: "files in memory",
  kernel: "page tables, the kernel's stacks, names of files",
  sockets: "buffers of sockets",
  unexplained: "the rest; below zero where nobody has touched yet what was given out",
};

let owners;
let parts;

export function setUp() {
  owners = new Table(byId("memory-owners"), {
    key: (row) => row.owner,
    empty: "",
    columns: [
      { label: "Owner", value: (row) => row.owner },
      { label: "Share", value: (row) => row.shareBytes, text: (row) => bytes(row.shareBytes), numeric: true },
      { label: "In use", value: (row) => row.usedBytes, text: (row) => ("usedBytes" in row ? bytes(row.usedBytes) : ""), numeric: true },
      { label: "", make: () => [element("progress")], update: (cell, row) => showBar(cell, row.owner, row.usedBytes, row.shareBytes) },
    ],
  });
  parts = new Table(byId("memory-parts"), {
    key: (row) => row.part,
    empty: "",
    columns: [
      { label: "Part", value: (row) => row.part },
      { label: "Size", value: (row) => row.bytes, text: (row) => signed(row.bytes), numeric: true },
      { label: "", make: () => [element("progress")], update: (cell, row) => showBar(cell, row.part, row.bytes, row.of) },
      { label: "What it is", value: (row) => PARTS[row.part] },
    ],
  });
}

/** Shows the memory of the status document. */
export function show(memory) {
  const { workingSetBytes, limitBytes, slopeBytesPerHour, secondsToLimit } = memory;
  const slope = slopeBytesPerHour === undefined ? "not known yet" : `${signed(slopeBytesPerHour)} per hour`;
  fillFacts(byId("memory-facts"), [
    ["Working set", bytes(workingSetBytes)],
    ["Limit", bytes(limitBytes)],
    ["Set by", LIMIT_SOURCES[memory.limitSource] ?? memory.limitSource],
    ["Soft mark", bytes(memory.softBytes)],
    ["Hard mark", bytes(memory.hardBytes)],
    ["Step", memory.step],
    ["Slope", slope],
    ["At the limit in", secondsToLimit === undefined ? "" : duration(secondsToLimit)],
  ]);
  const meter = byId("memory-meter");
  Object.assign(meter, { max: limitBytes, low: memory.softBytes, high: memory.hardBytes, optimum: 0, value: workingSetBytes });
  owners.show(memory.owners);
  parts.show(memory.parts.map((part) => ({ ...part, of: workingSetBytes })));
}

const signed = (value) => (value < 0 ? `−${bytes(-value)}` : bytes(value));

function showBar(cell, name, value, max) {
  const bar = cell.firstElementChild;
  bar.hidden = value === undefined || value < 0 || max === 0;
  bar.max = max || 1;
  bar.value = Math.max(0, value ?? 0);
  bar.ariaLabel = name;
}
