#!/usr/bin/env python3
"""graph.py CSV SVG [WARM_UP_MINUTES]: draws what `make soak` has recorded. Needs nothing but Python.

Above: the working set with the marks, and what it consists of: the owners, and the parts that no owner has. Below: events
per second, hosts and consumers. The dashed line is the straight line nearest to the working set after the warm-up.
"""
import csv
import html
import sys

WIDTH, LEFT, RIGHT = 1000, 70, 190
TOP_PLOT, LOW_PLOT = (40, 380), (440, 560)
HEIGHT = 600
MIB = 1 << 20
POINTS_MAX = 360  # of one line: more than a screen shows
# Parts of the working set that are no owner's; the others are counted with the owners program, stacks and slack.
PARTS = ["part.page-cache", "part.tmpfs", "part.kernel", "part.sockets", "part.unexplained"]
LAYERS_SHOWN = 11  # the largest by name, the others together
COLOURS = ["#4e79a7", "#f28e2b", "#76b7b2", "#edc948", "#b07aa1", "#9c755f", "#59a14f", "#ff9da7", "#8cd17d", "#a0cbe8",
           "#d4a6c8", "#bab0ac"]


def read(path):
    with open(path, newline="") as file:
        rows = [{key: float(value or 0) for key, value in row.items()} for row in csv.DictReader(file)]
    if len(rows) < 3:
        sys.exit(f"error: {path} has too few lines for a graph")
    step = max(1, len(rows) // POINTS_MAX)
    return rows, rows[::step]


def slope(points):
    """The nearest straight line: its value at the mean, per second, and the mean of x."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    xx = sum((x - mean_x) ** 2 for x, _ in points)
    return mean_y, sum((x - mean_x) * (y - mean_y) for x, y in points) / xx, mean_x


def nice(limit, count=5):
    """A round step that gives about so many lines up to the limit."""
    raw = limit / count
    power = 10 ** len(str(int(raw))) / 10 if raw >= 1 else 0.1
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)


class Plot:
    def __init__(self, y, x_max, y_max, unit):
        self.top, self.bottom = y
        self.x_max, self.y_max, self.unit = x_max, y_max, unit
        self.parts = []

    def x(self, seconds):
        return LEFT + (WIDTH - LEFT - RIGHT) * seconds / self.x_max

    def y(self, value):
        return self.bottom - (self.bottom - self.top) * min(value, self.y_max) / self.y_max

    def frame(self):
        value, step = 0, nice(self.y_max)
        while value <= self.y_max:
            y = self.y(value)
            self.parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#e4e4e4"/>')
            self.parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
            value += step
        self.parts.append(f'<text x="{LEFT}" y="{self.top - 10}">{self.unit}</text>')
        minute, step = 0, max(1, nice(self.x_max / 60, 8))
        while minute * 60 <= self.x_max:
            x = self.x(minute * 60)
            self.parts.append(f'<text x="{x:.1f}" y="{self.bottom + 18}" text-anchor="middle">{minute:g}</text>')
            minute += step
        self.parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{self.bottom + 18}">minutes</text>')

    def line(self, points, colour, dash="", width=1.5):
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        dash = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>')

    def area(self, lower, upper, colour):
        points = upper + lower[::-1]
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<polygon points="{path}" fill="{colour}" fill-opacity="0.75"/>')

    def name(self, number, text, colour):
        x, y = WIDTH - RIGHT + 14, self.top + 8 + number * 17
        self.parts.append(f'<rect x="{x}" y="{y - 8}" width="10" height="10" fill="{colour}"/>')
        self.parts.append(f'<text x="{x + 16}" y="{y + 1}">{html.escape(text)}</text>')


def memory(rows, all_rows, warm_up):
    seconds = [row["seconds"] for row in rows]
    marks = {name: rows[-1][name] / MIB for name in ("soft", "hard", "limit")}
    plot = Plot(TOP_PLOT, seconds[-1], marks["limit"] * 1.05, "MiB")
    plot.frame()
    keys = [key for key in rows[0] if key.startswith("owner.") or key in PARTS]
    keys.sort(key=lambda key: -sum(row[key] for row in rows))
    shown, rest = keys[:LAYERS_SHOWN], keys[LAYERS_SHOWN:]
    layers = [(key.split(".", 1)[1], [max(0, row[key]) / MIB for row in rows]) for key in shown]
    if rest:
        layers.append(("others", [sum(max(0, row[key]) for key in rest) / MIB for row in rows]))
    below = [0.0] * len(rows)
    for number, (name, values) in enumerate(layers):
        above = [low + value for low, value in zip(below, values)]
        plot.area(list(zip(seconds, below)), list(zip(seconds, above)), COLOURS[number])
        plot.name(number + 2, name, COLOURS[number])
        below = above
    for name, value in marks.items():
        y = plot.y(value)
        colour = "#c0392b" if name != "soft" else "#e08e0b"
        plot.line([(0, value), (seconds[-1], value)], colour, "2 3", 1)
        plot.parts.append(f'<text x="{LEFT + 6}" y="{y - 4:.1f}" fill="{colour}">{name} {value:.0f}</text>')
    plot.line([(row["seconds"], row["working_set"] / MIB) for row in rows], "#1b1b1b", width=1.8)
    plot.name(0, "working set", "#1b1b1b")
    after = [(row["seconds"], row["working_set"] / MIB) for row in all_rows if row["seconds"] >= warm_up]
    title = "too short for a slope"
    if len(after) >= 3:
        mean, per_second, mean_x = slope(after)
        ends = [(x, mean + per_second * (x - mean_x)) for x in (after[0][0], after[-1][0])]
        plot.line(ends, "#d62728", "6 4", 1.8)
        per_hour = per_second * 3600
        title = (f"{mean:.1f} MiB on average after {warm_up / 60:.0f} minutes, "
                 f"slope {per_hour:+.2f} MiB per hour: {per_hour / mean * 100:+.2f} for each 100 MiB")
        plot.name(1, "nearest line", "#d62728")
    plot.parts.append(f'<text x="{LEFT + 50}" y="{TOP_PLOT[0] - 10}" font-weight="bold">{title}</text>')
    return plot.parts


def load(rows):
    seconds = [row["seconds"] for row in rows]
    lines = [("events/s ÷ 10", "#4e79a7", [row["events_per_second"] / 10 for row in rows]),
             ("hosts", "#59a14f", [row["hosts"] for row in rows]),
             ("consumers", "#b07aa1", [row["consumers"] for row in rows])]
    plot = Plot(LOW_PLOT, seconds[-1], max(1.0, max(max(values) for _, _, values in lines) * 1.1), "")
    plot.frame()
    for number, (name, colour, values) in enumerate(lines):
        plot.line(list(zip(seconds, values)), colour)
        plot.name(number, name, colour)
    return plot.parts


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: graph.py CSV SVG [WARM_UP_MINUTES]")
    all_rows, rows = read(sys.argv[1])
    warm_up = float(sys.argv[3]) * 60 if len(sys.argv) == 4 else min(1800, all_rows[-1]["seconds"] / 2)
    parts = memory(rows, all_rows, warm_up) + load(rows)
    with open(sys.argv[2], "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12" '
                   'font-family="sans-serif" fill="#333">\n<rect width="100%" height="100%" fill="white"/>\n')
        file.write("\n".join(parts) + "\n</svg>\n")


main()
