"""The report as Markdown: the figures with their bars, all measurements, and how they were come by."""
import statistics

import loss
from cases import key


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def spread(values, show=number):
    return f"{show(statistics.median(values))} ({show(min(values))} to {show(max(values))})"


def short(error):
    """Fits into a cell of a table."""
    return " ".join(error.replace("|", "/").split())[:120]


def figure_row(figure):
    bar = f"{'≤' if figure['at_most'] else '≥'} {figure['bar']}"
    if "error" in figure:
        return f"| {figure['title']} | {bar} | not measured: {short(figure['error'])} | |"
    measured = f"{figure['median']:.2f} ({figure['min']:.2f} to {figure['max']:.2f})"
    result = "holds" if figure["holds"] else f"**{figure['part']:.2f} of it**"
    return f"| {figure['title']} | {bar} | {measured} | {result} |"


def loss_row(row):
    bar = f"0 lost, p99 ≤ {loss.P99_US_MAX} µs"
    if "error" in row:
        return f"| {row['title']} | {bar} | not measured: {short(row['error'])} | |"
    counts, latency = row["counts"], row["latency_us"]
    measured = (f"{row['iops']:,.0f}/s; lost {counts['lost']}, not sent in time {counts['overdue']}, "
                f"on the wire {row['wire_drops']}, in the shelf {sum(row['shelf_losses'].values())}; "
                f"p99 {latency['p99']:.0f} µs")
    result = "holds" if row["holds"] else f"**{row['iops'] / row['rate']:.2f} of the rate**"
    return f"| {row['title']} | {bar} | {measured} | {result} |"


def figures_table(document):
    lines = ["| what | bar | median ratio (min to max) | |", "| --- | --- | --- | --- |"]
    lines += [figure_row(figure) for figure in document["figures"]]
    lines += [loss_row(row) for row in document["losses"]]
    return lines


def measurements_table(document):
    lines = ["| what | who | IOPS | p50 µs | p99 µs | p99.9 µs | CPU µs per I/O |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for where, subjects in document["results"].items():
        for subject, rounds in subjects.items():
            lines.append(measurement_row(where, subject, rounds))
    return lines


def measurement_row(where, subject, rounds):
    good = [one for one in rounds if "error" not in one]
    if not good:
        return f"| {where} | {subject} | failed: {short(rounds[-1]['error'])} | | | | |"
    told = [one["latency_us"] for one in good if one["latency_us"]]
    median = lambda name: number(statistics.median(one[name] for one in told)) if told else ""
    cpu = f"{statistics.median(one['cpu_us_per_io'] for one in good):.2f}"
    failed = f"; {len(rounds) - len(good)} failed" if len(good) < len(rounds) else ""
    return (f"| {where} | {subject} | {spread([one['iops'] for one in good])}{failed} | {median('p50')} | "
            f"{median('p99')} | {median('p999')} | {cpu} |")


def best(document, operation, who):
    """The best median of all modes at depth 32 in memory; `None` without any."""
    subjects = document["results"].get(key("memory", operation, 8192, 32), {})
    rates = [[one["iops"] for one in rounds if "error" not in one]
             for subject, rounds in subjects.items() if subject.startswith(who)]
    return max((statistics.median(each) for each in rates if each), default=None)


def ceiling_of(document, operation):
    """How far the generator is from being what limits the shelf."""
    bare, ours = best(document, operation, "bare responder"), best(document, operation, "ledged")
    if bare is None or ours is None:
        return []
    return [f"At depth 32 it got {number(bare)} {operation}s/s from the bare responder in its best mode and "
            f"{number(ours)} from the shelf in its best: {bare / ours:.2f} times as many."]


def ceiling_lines(document):
    ceiling = document["ceiling"]
    lines = ["| generator against the bare responder | reads/s | writes/s |", "| --- | --- | --- |"]
    for backend, rates in ceiling["rates"].items():
        cells = [number(rate) if isinstance(rate, float) else short(str(rate)) for rate in rates.values()]
        lines.append(f"| backend {backend} | {' | '.join(cells)} |")
    lines += ["", *ceiling_of(document, "read"), *ceiling_of(document, "write")]
    return lines + ["", f"Backend `{ceiling['backend']}` loads hardest and is used for every AoE target. Nothing else "
                    "answers faster than the bare responder, which does nothing: what the generator gets from it is "
                    "what it can do at least, and a target below that is not limited by the generator alone."]


def summary(document):
    figures = [row for row in document["figures"] + document["losses"]]
    holds = sum(row.get("holds", False) for row in figures)
    missing = sum("error" in row for row in figures)
    return f"{holds} of {len(figures)} figures hold, {missing} were not measured."


def disturbance(document):
    """What makes the figures worthless, if it was so."""
    others = document["stolen_seconds"] / document["elapsed_seconds"]
    if document["host"]["busy"] < 0.05 and others < 0.05:
        return []
    return ["**The machine was not quiet**: others used it before or while this was measured. These figures tell that "
            "everything can be measured, and nothing else.", ""]


def render(document, plots):
    """The whole report; `plots` are pairs of a title and a file."""
    host = document["host"]
    lines = [
        "# The shelf beside its peers", "",
        "Written by `make bench`; the numbers behind it are in `matrix.json`. Only ratios of one run mean anything "
        "elsewhere: both ends share one machine, and a veth pair is the wire.", "",
        f"{document['rounds']} round{'s' if document['rounds'] > 1 else ''}, {document['seconds']} s for each measurement, the targets of one comparison in "
        f"turn in every round; {host['cpus']} CPUs ({host['model']}), Linux {host['kernel']}, {document['date']}. "
        f"Of the CPUs others kept {host['busy']:.0%} busy before; the host took {document['stolen_seconds']:.1f} CPU-seconds for others "
        f"while it ran, of {document['elapsed_seconds']:.0f} s.",
        f"The shelf's own choice of mode here (`auto`): {document['mode']}; its rows come first.", "",
        *disturbance(document), summary(document), "", "## Figures", "", *figures_table(document), "",
        "*holds*: the median reaches the bar. Otherwise the part of the bar that it reaches.", "",
        "## How hard the generator can load", "", *ceiling_lines(document), "",
    ]
    if plots:
        lines += ["## Plots", ""]
        for title, file in plots:
            lines += [f"![{title}]({file})", ""]
    lines += ["## All measurements", "", *measurements_table(document), "", "## Conditions", "", *conditions(document)]
    return "\n".join(lines) + "\n"


def conditions(document):
    lines = [
        "* Targets on CPU 0, generators on the last; each target in a namespace of its own, MTU 9000 unless said.",
        "* CPU per I/O: user and system time of the target's process, and interrupts and softirqs of its CPU, by all "
        "commands of the load. On a veth pair the softirq of what a side sends runs on the CPU of the sender. fio's "
        "own time where fio is the subject.",
        "* `memory`: a raid0 LUN over four `ram:` disks of ours, vblade over a file on tmpfs, all of it written "
        "before. `null LUN`: our whole data path, with drives that keep nothing. `bare responder`: no data path.",
        "* `O_DIRECT file`: one file of 1 GiB, written, served by each in turn; `durable`: an answered write is on "
        "stable storage (vblade -s, O_SYNC of tgt, directsync of qemu-nbd, O_DSYNC or one fdatasync for 64 writes of "
        "fio).",
        "* iSCSI is read by libiscsi's iscsi-perf and written by qemu-img bench, which scatters its writes by a "
        "stride; neither tells latencies. NBD is loaded by fio.",
    ]
    return lines + [f"* {name}: {text}" for name, text in document["versions"].items()]
