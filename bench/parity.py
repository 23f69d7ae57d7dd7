#!/usr/bin/env python3
"""The parity kernels beside Debian's ISA-L, interleaved in one run: P+Q of 8+2 with 64 KiB chunks on one core.

Usage: parity.py [--rounds N]

Builds `cargo bench -p raid` and bench/isal/isal.c (needs libisal-dev: `deploy/packages.sh bench`), and runs the
two in turn. Figures are medians of the rounds; so are the ratios, each of one round. The machine should be quiet.
"""
import argparse
import pathlib
import re
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What the parity kernels are to reach: pool, job, bar in GB/s or in % of a plain read.
BARS = [
    ("in L2", "P+Q 8+2", "GB/s", 80),
    ("from DRAM", "P+Q 8+2", "% of a plain read", 75),
    ("in L2", "rebuild of two data chunks", "GB/s", 70),
]
ISAL_BAR = 1.2
LINE = re.compile(r"^  (?P<job>\S.*?) +(?P<rate>[\d.]+) GB/s \(best +[\d.]+\) +(?P<percent>[\d.]+) %")


def ours():
    """Rates and percentages of a plain read by pool and job, of the fastest kernel of this machine."""
    words = ["cargo", "bench", "-q", "-p", "raid", "--bench", "parity"]
    text = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found, pool, kernel = {}, None, {}
    for line in text.splitlines():
        if match := LINE.match(line):
            if pool:
                found[pool, match["job"]] = (float(match["rate"]), float(match["percent"]))
        else:
            name, _, of = line.partition(", ")
            # Kernels come fastest first.
            pool = name if kernel.setdefault(name, of) == of else None
    return found


def isal(program):
    text = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    rates = dict(line.split() for line in text.splitlines())
    return {"in L2": float(rates["L2"]), "from DRAM": float(rates["DRAM"])}


def measure(rounds):
    """Lines of a table."""
    with tempfile.TemporaryDirectory(prefix="ledge-isal-") as directory:
        program = pathlib.Path(directory) / "isal"
        source = ROOT / "bench" / "isal" / "isal.c"
        subprocess.run(["cc", "-O2", "-Wall", "-o", program, source, "-lisal"], check=True)
        taken = [(ours(), isal(program)) for _ in range(rounds)]
    lines = ["| kernel, one core | measured: median (min to max) | bar |", "| --- | --- | --- |"]
    for pool, job, unit, bar in BARS:
        column = 0 if unit == "GB/s" else 1
        figures = [own[pool, job][column] for own, _ in taken]
        lines.append(f"| {job}, {pool} | {spread(figures, 0)} {unit} | {bar} |")
    for pool in ("in L2", "from DRAM"):
        ratios = [own[pool, "P+Q 8+2"][0] / other[pool] for own, other in taken]
        rate = statistics.median(other[pool] for _, other in taken)
        bar = ISAL_BAR if pool == "in L2" else ""
        lines.append(f"| P+Q 8+2 of ISA-L ({rate:.0f} GB/s), {pool} | {spread(ratios, 2)} | {bar} |")
    return lines


def spread(figures, digits):
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    print("\n".join(measure(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
