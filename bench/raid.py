#!/usr/bin/env python3
"""All figures of the RAID layer, each a ratio of things measured in turn in one run.

Usage: raid.py DIRECTORY_OF_THE_BINARIES [--rounds N] [--seconds S] [--depth N] [--out DIRECTORY]

Over the network: one shelf with `ram:` disks in a namespace, joined to the client's by a veth pair at MTU 9000. LUNs:

  0 raid0 over 5     1 raid5 4+1      2 raid5 4+1 with one member lost
  3 raid0 over 10    4 raid6 8+2      5 raid6 8+2 with one lost     6 raid6 8+2 with two lost

The last CPU runs aoeload, CPU 0 the shelf. Without a network: `corebench`, the core and its executor alone,
and the parity kernels beside ISA-L (parity.py). Every round measures every case once; medians of ratios are
given. Absolute figures mean nothing from one machine or run to the next. Needs root and the packages of
`deploy/packages.sh bench`.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

import parity

LUNS = [
    # number, level, disks, lost, MiB of a disk: where small writes go, far more than the shelf keeps in memory
    (0, "raid0", 5, 0, 64),
    (1, "raid5", 5, 0, 64),
    (2, "raid5", 5, 1, 64),
    (3, "raid0", 10, 0, 256),
    (4, "raid6", 10, 0, 256),
    (5, "raid6", 10, 1, 64),
    (6, "raid6", 10, 2, 64),
]

# Name, LUN, reference LUN, factor of the bound (what the reference could give), bar, aoeload options.
STREAM_RAID6 = "sequential write, raid6 8+2, of 8/10 raid0"
RANDOM_RAID6 = "random 4 KiB write, raid6, of raid0"
CASES = [
    ("sequential write, raid5 4+1, of 4/5 raid0", 1, 0, 4 / 5, 0.80, ("--op", "write", "--sequential")),
    (STREAM_RAID6, 4, 3, 8 / 10, 0.80, ("--op", "write", "--sequential")),
    ("sequential read, raid5 degraded, of healthy", 2, 1, 1, 0.80, ("--op", "read", "--sequential")),
    ("sequential read, raid6 one lost, of healthy", 5, 4, 1, 0.80, ("--op", "read", "--sequential")),
    ("sequential read, raid6 two lost, of healthy", 6, 4, 1, 0.80, ("--op", "read", "--sequential")),
    (RANDOM_RAID6, 4, 3, 1, None, ("--op", "write", "--random", "--size", "4096")),
    ("random 4 KiB write, raid5, of raid0", 1, 0, 1, None, ("--op", "write", "--random", "--size", "4096")),
]


def run(*words, **options):
    return subprocess.run([str(word) for word in words], check=True, **options)


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.bin = pathlib.Path(arguments.bin).resolve()
        self.shelf, self.client = (f"lr-{n}-{os.getpid()}" for n in ("shelf", "client"))
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ledge-raid-", dir="/var/tmp"))
        self.child = None

    def start(self):
        for namespace in (self.shelf, self.client):
            run("ip", "netns", "add", namespace)
            run("ip", "netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        run("ip", "link", "add", "eth1", "netns", self.shelf, "mtu", "9000", "type", "veth",
            "peer", "name", "eth0", "netns", self.client, "mtu", "9000")
        run("ip", "-n", self.shelf, "link", "set", "eth1", "up")
        run("ip", "-n", self.client, "link", "set", "eth0", "up")
        config = self.directory / "ledge.toml"
        sizes = [mib for _, _, disks, _, mib in LUNS for _ in range(disks)]
        text = (
            f'shelf = 1\nstate_dir = "{self.directory}/state"\n'
            f'control_socket = "{self.directory}/control.sock"\ncores = [0]\n'
            '[[port]]\ninterface = "eth1"\n'
        )
        text += "".join(f'[[disk]]\nslot = {slot}\npath = "ram:{mib}M"\n' for slot, mib in enumerate(sizes))
        config.write_text(text)
        log = open(self.directory / "ledged.log", "wb")
        self.child = subprocess.Popen(
            ["ip", "netns", "exec", self.shelf, str(self.bin / "ledged"), "--config", str(config)],
            stdout=log, stderr=log, start_new_session=True)
        for _ in range(900):
            if b"ready" in (self.directory / "ledged.log").read_bytes():
                break
            time.sleep(0.1)
        else:
            raise SystemExit((self.directory / "ledged.log").read_text())
        slot = 0
        for number, level, disks, lost, _ in LUNS:
            present = [f"1.{slot + at}" for at in range(disks - lost)]
            members = present[:1] + ["missing"] * lost + present[1:]
            slot += disks
            self.ledge("make", "-c", number, level, *members)
            self.ledge("online", number)

    def ledge(self, *words):
        return run(self.bin / "ledge", "--socket", self.directory / "control.sock", *words,
                   capture_output=True, text=True).stdout

    def fill(self, lun, mib):
        """Writes all of a LUN: memory that was never touched costs page faults."""
        sequential = ("--op", "write", "--sequential")
        rate = figure(self.load(lun, sequential)) * 8192
        self.load(lun, sequential, seconds=1 + int(1.5 * (mib << 20) / rate))

    def load(self, lun, options, seconds=None):
        words = ["ip", "netns", "exec", self.client, "taskset", "-c", str(os.cpu_count() - 1),
                 self.bin / "aoeload", "--interface", "eth0", "--target", f"1.{lun}",
                 "--depth", self.arguments.depth, "--seconds", seconds or self.arguments.seconds, "--json", *options]
        result = run(*words, capture_output=True, text=True)
        return json.loads(result.stdout)

    def stop(self):
        if self.child:
            self.child.terminate()
            self.child.wait()
        for namespace in (self.shelf, self.client):
            subprocess.run(["ip", "netns", "del", namespace], check=False)
        shutil.rmtree(self.directory)


def figure(report):
    for key in ("iops", "IOPS"):
        if key in report:
            return report[key]
    return report["results"]["iops"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--depth", type=int, default=256)
    parser.add_argument("--out", default=None)
    arguments = parser.parse_args()
    bench = Bench(arguments)
    # Others on the machine spoil what is measured over the network: two of ours are busy at most.
    load_before = os.getloadavg()[0]
    rows = {case[0]: [] for case in CASES}
    rates = {case[0]: [] for case in CASES}
    try:
        bench.start()
        for lun, _, disks, _, mib in LUNS:
            bench.fill(lun, disks * mib)
        for _ in range(arguments.rounds):
            for name, lun, reference, factor, _, options in CASES:
                base = figure(bench.load(reference, options))
                rate = figure(bench.load(lun, options))
                rows[name].append(rate / (base * factor))
                rates[name].append((rate, base))
        counters = bench.ledge("aoestats")
    finally:
        bench.stop()
    lines = [f"{arguments.rounds} rounds of {arguments.seconds} s, {os.cpu_count()} CPUs, load average before: "
             f"{load_before:.1f} (figures over the network want it below 0.5)", "",
             "| over the network, `ram:` disks | IOPS | reference | ratio: median (min to max) | bar |",
             "| --- | --- | --- | --- | --- |"]
    for name, _, _, _, bar, _ in CASES:
        rate, base = (statistics.median(column) for column in zip(*rates[name]))
        bar = f"{bar:.2f}" if bar else ""
        lines.append(f"| {name} | {rate:.0f} | {base:.0f} | {parity.spread(rows[name], 2)} | {bar} |")
    lines += ["", *core_lines(bench, rates), "", *parity.measure(arguments.rounds)]
    print("\n".join(lines))
    print("\n".join(line for line in counters.splitlines() if "INFO" not in line))
    if arguments.out:
        out = pathlib.Path(arguments.out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "raid.md").write_text("\n".join(lines) + "\n")


def core_lines(bench, rates):
    """What the core costs beside its I/O, by itself and as a part of what a client sees."""
    words = [bench.bin / "corebench", "--rounds", max(5, bench.arguments.rounds), "--json"]
    core = json.loads(run(*words, capture_output=True, text=True).stdout)
    median = {name: figure["median"] for name, figure in core.items() if isinstance(figure, dict)}

    def shown(name):
        return f"{core[name]['median']:.2f} ({core[name]['min']:.2f} to {core[name]['max']:.2f})"

    # A request over the network and the I/O that it must do, of what it takes.
    more_io_ns = median["random_write_io_ns"] - median["raid0_write_io_ns"]
    of_bound = [(1e9 / base + more_io_ns) / (1e9 / rate) for rate, base in rates[RANDOM_RAID6]]
    more_ns = median["stripe_write_ns"] - median["bare_stripe_write_ns"]
    each_ns = 1e9 / statistics.median(rate for rate, _ in rates[STREAM_RAID6])
    reads, logged, homes = core["random_write_ios"]
    return [
        "| core and I/O, 8+2 over `ram:` disks of 256 MiB | measured: median (min to max) | bar |",
        "| --- | --- | --- |",
        f"| random 4 KiB write over the network, of its bound | {parity.spread(of_bound, 2)} | 0.70 |",
        f"| the same without a network | {shown('random_write_of_bound')} | |",
        f"| the same, of the time of its I/O alone | {shown('random_write_of_io')} | |",
        f"| its I/O: reads, log writes, home writes | {reads:.2f}, {logged:.2f}, {homes:.2f} | |",
        f"| bitmap and log, full stripes, over the network | {more_ns / (each_ns - more_ns):.1%} | 5 % |",
        f"| the same: of the core and its I/O alone | {shown('protection_overhead')} | |",
        f"| the same: for each 8 KiB | {more_ns:.0f} ns | |",
        f"| sequential read without a network, one lost, of healthy | {shown('one_lost_of_healthy')} | |",
        f"| sequential read without a network, two lost, of healthy | {shown('two_lost_of_healthy')} | |",
        "",
        "The bound of a random write: what a raid0 write takes, which is one request and one I/O, and what the",
        "further reads, log writes and home writes take that the raid6 write has to do. Their time is measured by",
        "doing exactly the I/O of a run again, in the same batches, by the same executor, from the same buffers to",
        "the same disks, and nothing else. Time without a network is CPU time of the one thread. Bitmap and log: the",
        "same stream with and without them, in the core; what they add is then set beside a whole request.",
    ]


if __name__ == "__main__":
    main()
