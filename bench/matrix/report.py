"""The report as Markdown: the figures with their bars, all measurements, and how they were come by."""
import math
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
    bar = "none" if figure["bar"] is None else f"{'≤' if figure['at_most'] else '≥'} {figure['bar']}"
    if "error" in figure:
        return f"| {figure['title']} | {bar} | not measured: {short(figure['error'])} | |"
    measured = f"{figure['median']:.2f} ({figure['min']:.2f} to {figure['max']:.2f})"
    if figure["bar"] is None:
        result = "beside it"
    else:
        result = "holds" if figure["holds"] else f"**{figure['part']:.2f} of it**"
    return f"| {figure['title']} | {bar} | {measured} | {result} |"


def loss_row(row):
    bar = f"0 lost, p99 ≤ {loss.P99_US_MAX} µs"
    if "error" in row:
        return f"| {row['title']} | {bar} | not measured: {short(row['error'])} | |"
    counts, latency = row["counts"], row["latency_us"]
    measured = (f"{row['iops']:,.0f}/s; lost {counts['lost']}, not sent in time {counts['overdue']}, "
                f"frames missing {row['missing']}{layers_of(row)}; p99 {latency['p99']:.0f} µs")
    if row["holds"]:
        result = "holds"
    elif counts["lost"] + counts["overdue"] + row["missing"]:
        result = f"**{row['iops'] / row['rate']:.2f} of the rate**"
    else:
        result = f"**nothing lost; p99 {latency['p99'] / loss.P99_US_MAX:.1f} times the bar**"
    return f"| {row['title']} | {bar} | {measured} | {result} |"


def layers_of(row):
    """Where the missing frames stayed."""
    layers = ", ".join(f"{name} {layer['lost']}" for name, layer in row["layers"].items())
    return f" ({layers})" if layers else ""


def percentile_cells(measured):
    """p50, p90, p99 and the p99 of the median second."""
    latency, median_second = measured["latency_us"], measured["p99_of_seconds"]
    cells = [latency["p50"], latency["p90"], latency["p99"], median_second]
    return [number(cell) if cell is not None else "" for cell in cells]


def slowest_row(row):
    """The shelf beside the bare responder at the same rate."""
    title = row["title"].removeprefix("zero loss at ")
    if "error" in row or "error" in row["responder"]:
        error = row.get("error") or row["responder"]["error"]
        return f"| {title} | not measured: {short(error)} | | | | | | | | |"
    shelf, responder = percentile_cells(row), percentile_cells(row["responder"])
    return f"| {title} | {' | '.join(shelf)} | {' | '.join(responder)} | {slowest_ratio(row)} |"


def slowest_ratio(row):
    """Of two that both kept the rate: what was never sent has no latency."""
    behind = [name for name, one in (("shelf", row), ("responder", row["responder"]))
              if one["counts"]["overdue"] + one["counts"]["lost"]]
    if behind:
        return f"{' and '.join(behind)} did not keep the rate"
    return f"{row['latency_us']['p99'] / row['responder']['latency_us']['p99']:.2f}"


def slowest_lines(document):
    """What the slowest hundredth is made of: shelf, generator, or machine."""
    if not document["losses"]:
        return []
    lines = ["## The slowest hundredth at line rate", "",
             "| µs | shelf: p50 | p90 | p99 | p99 of the median second | bare responder: p50 | p90 | p99 | p99 of the "
             "median second | p99: shelf's by responder's |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    lines += [slowest_row(row) for row in document["losses"]]
    lines += ["", f"The bar is p99 ≤ {loss.P99_US_MAX} µs. The bare responder does nothing but answer, and is asked the "
              "same right before each row: what it does not reach, no target reaches on this machine with this "
              "generator.", ""]
    if "error" in document["stalls"]:
        return lines + [f"How long the CPUs are taken away was not measured: {short(document['stalls']['error'])}", ""]
    return lines + stall_lines(document["stalls"])


def percent(part):
    return f"{part * 100:.2f} %"


def stall_lines(stalls):
    lines = ["| a program that only reads the clock | gaps of more than 20 µs | part of the time | others of this machine "
             f"ran | longest, ms | late by more than {loss.P99_US_MAX} µs |", "| --- | --- | --- | --- | --- | --- |"]
    for when, measured in stalls.items():
        for one in measured:
            lines.append(f"| {when} the rows, CPU {one['cpu']} | {one['gaps']:,} | {percent(one['gaps_part'])} | "
                         f"{percent(one['waited_part'])} | {one['longest_us'] / 1e3:.1f} | {percent(one['late_part'])} |")
    late = [1 - math.prod(1 - one["late_part"] for one in measured) for measured in stalls.values()]
    others = [max(one["gaps_part"] - one["waited_part"], 0) for measured in stalls.values() for one in measured]
    lines += ["", "What is in the gaps and is not others of this machine is interrupts and the host: "
              f"{percent(min(others))} to {percent(max(others))} of the time of a CPU. No clock of a "
              f"virtual machine tells of the latter. The last column is the part of the time in which what comes waits for "
              f"more than {loss.P99_US_MAX} µs, however fast it is answered; a command needs both CPUs. "]
    if max(late) >= 0.01:
        lines[-1] += (f"Both together: {percent(min(late))} to {percent(max(late))}. So the machine alone takes the "
                      "hundredth that the bar is about, or more.")
    else:
        lines[-1] += f"Both together: {percent(min(late))} to {percent(max(late))}, less than the hundredth of the bar."
    return lines + [""]


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
    figures = [row for row in document["figures"] + document["losses"] if row.get("bar", 0) is not None]
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
        "*holds*: the median reaches the bar. Otherwise the part of the bar that it reaches. *beside it*: no bar of its "
        "own; it stands beside the one above.", "",
        *slowest_lines(document),
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
        "before. `null LUN`: our whole data path, with drives that keep nothing. `bare responder`: no data path. "
        "`copying responder`: the same with its disk in memory, one copy for each command.",
        "* `O_DIRECT file`: one file of 1 GiB, written, served by each in turn; `durable`: an answered write is on "
        "stable storage (vblade -s, O_SYNC of tgt, directsync of qemu-nbd, O_DSYNC or one fdatasync for 64 writes of "
        "fio).",
        "* `the other CPU busy`: beside fio a program spins on the CPU of the generators, as aoeload does while it loads "
        "a target. Without it the kernel's own work for the disk has that CPU for itself.",
        "* iSCSI is read by libiscsi's iscsi-perf and written by qemu-img bench, which scatters its writes by a "
        "stride; neither tells latencies. NBD is loaded by fio.",
    ]
    return lines + [f"* {name}: {text}" for name, text in document["versions"].items()]
