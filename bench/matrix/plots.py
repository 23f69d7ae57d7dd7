"""The plots, as SVG: throughput, latency percentiles, CPU of each I/O, cost against depth and number of LUNs."""
import statistics

import matplotlib

matplotlib.use("svg")
# The same numbers give the same file.
matplotlib.rcParams["svg.hashsalt"] = "ledge"
from matplotlib import pyplot  # noqa: E402

from cases import DEPTHS, LUN_COUNTS, key  # noqa: E402


def medians(results, where, subject, metric):
    good = [one for one in results.get(where, {}).get(subject, []) if "error" not in one]
    values = [value for value in map(metric, good) if value is not None]
    return statistics.median(values) if values else None


def save(figure, directory, name):
    figure.tight_layout()
    figure.savefig(directory / name, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return name


def bars(document, directory, name, title, metric):
    """A panel for each comparison at full depth."""
    results = document["results"]
    keys = [key("memory", "read", 8192, 32), key("memory", "write", 8192, 32), key("MTU 1500", "read", 1024, 32),
            key("O_DIRECT file", "read", 8192, 64), key("O_DIRECT file, durable", "write", 8192, 64)]
    keys = [where for where in keys if where in results]
    figure, axes = pyplot.subplots(len(keys), 1, figsize=(9, 2.9 * len(keys)), squeeze=False)
    for axis, where in zip(axes[:, 0], keys):
        values = {subject: medians(results, where, subject, metric) for subject in results[where]}
        values = {subject: value for subject, value in values.items() if value is not None}
        colours = ["tab:blue" if subject.startswith("ledged") else "tab:grey" for subject in values]
        axis.barh(list(values), list(values.values()), color=colours)
        axis.invert_yaxis()
        axis.set_title(f"{where}: {title}", fontsize=9)
        axis.tick_params(labelsize=8)
    return title, save(figure, directory, name)


def percentiles(document, directory, name):
    results = document["results"]
    keys = [key("memory", "read", 8192, 1), key("memory", "read", 8192, 32), key("O_DIRECT file", "read", 8192, 64)]
    keys = [where for where in keys if where in results]
    names = ["p50", "p90", "p99", "p999"]
    figure, axes = pyplot.subplots(1, len(keys), figsize=(5 * len(keys), 4.5), squeeze=False)
    for axis, where in zip(axes[0], keys):
        for subject in results[where]:
            values = [medians(results, where, subject, lambda one: (one["latency_us"] or {}).get(at)) for at in names]
            if None not in values:
                axis.plot(names, values, marker="o", label=subject)
        axis.set_yscale("log")
        axis.set_ylabel("µs")
        axis.set_title(where, fontsize=9)
        axis.legend(fontsize=7)
    return "latency percentiles", save(figure, directory, name)


METRICS = [("IOPS", lambda one: one["iops"]), ("p99 µs", lambda one: (one["latency_us"] or {}).get("p99")),
           ("CPU µs per I/O", lambda one: one["cpu_us_per_io"])]


def lines(document, directory, name, title, horizontal, series):
    """A panel for each metric; `series` gives the place of each point."""
    figure, axes = pyplot.subplots(1, len(METRICS), figsize=(13, 4.2))
    for axis, (label, metric) in zip(axes, METRICS):
        for subject, places in series.items():
            points = [medians(document["results"], where, who, metric) for where, who in places]
            axis.plot(horizontal, [float("nan") if point is None else point for point in points], marker="o", label=subject)
        axis.set_xlabel(title)
        axis.set_ylabel(label)
        axis.set_xticks(horizontal, [str(value) for value in horizontal])
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=7)
    return f"cost against {title}", save(figure, directory, name)


def draw(document, directory):
    """Draws what there is; gives titles and files."""
    results, ours = document["results"], f"ledged {document['mode']}"
    drawn = []
    has = lambda group: any(where.startswith(group) for where in results)
    if has("memory") or has("O_DIRECT"):
        drawn.append(bars(document, directory, "throughput.svg", "IOPS", lambda one: one["iops"]))
        drawn.append(bars(document, directory, "cpu.svg", "CPU µs per I/O", lambda one: one["cpu_us_per_io"]))
        drawn.append(percentiles(document, directory, "latency.svg"))
    if has("memory"):
        series = {f"{subject}, {operation}": [(key("memory", operation, 8192, depth), subject) for depth in DEPTHS]
                  for subject in (ours, "vblade") for operation in ("read", "write")}
        drawn.append(lines(document, directory, "depth.svg", "commands under way", DEPTHS, series))
    if has("LUNs"):
        where = key("LUNs", "read", 8192, 8)
        series = {"8 KiB reads, depth 8": [(where, f"{count} LUN{'s' if count > 1 else ''}") for count in LUN_COUNTS]}
        drawn.append(lines(document, directory, "luns.svg", "LUNs configured", LUN_COUNTS, series))
    return drawn
