#!/usr/bin/env python3
"""Parity beside striping on the same shelf, interleaved in one run: the ratios of the RAID layer.

Usage: raid.py DIRECTORY_OF_THE_BINARIES [--rounds N] [--seconds S] [--depth N] [--out DIRECTORY]

One shelf with `ram:` disks in a namespace, joined to the client's by a veth pair at MTU 9000. LUNs:

  0 raid0 over 5     1 raid5 4+1      2 raid5 4+1 with one member lost
  3 raid0 over 10    4 raid6 8+2      5 raid6 8+2 with one lost     6 raid6 8+2 with two lost

Every round measures every case once; medians of ratios are given. The shelf runs on CPU 0, aoeload on
the last CPU. Absolute figures mean nothing from one machine or run to the next. Needs root.
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

LUNS = [
    # number, level, disks, lost
    (0, "raid0", 5, 0),
    (1, "raid5", 5, 0),
    (2, "raid5", 5, 1),
    (3, "raid0", 10, 0),
    (4, "raid6", 10, 0),
    (5, "raid6", 10, 1),
    (6, "raid6", 10, 2),
]
DISK = "64M"

# Name, LUN, reference LUN, factor of the bound (what the reference could give), bar, aoeload options.
CASES = [
    ("sequential write, raid5 4+1, of 4/5 raid0", 1, 0, 4 / 5, 0.80, ("--op", "write", "--sequential")),
    ("sequential write, raid6 8+2, of 8/10 raid0", 4, 3, 8 / 10, 0.80, ("--op", "write", "--sequential")),
    ("sequential read, raid5 degraded, of healthy", 2, 1, 1, 0.80, ("--op", "read", "--sequential")),
    ("sequential read, raid6 one lost, of healthy", 5, 4, 1, 0.80, ("--op", "read", "--sequential")),
    ("sequential read, raid6 two lost, of healthy", 6, 4, 1, 0.80, ("--op", "read", "--sequential")),
    ("random 4 KiB write, raid6, of raid0", 4, 3, 1, None, ("--op", "write", "--random", "--size", "4096")),
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
        disks = sum(disks for _, _, disks, _ in LUNS)
        text = (
            f'shelf = 1\nstate_dir = "{self.directory}/state"\n'
            f'control_socket = "{self.directory}/control.sock"\ncores = [0]\n'
            '[[port]]\ninterface = "eth1"\n'
        )
        text += "".join(f'[[disk]]\nslot = {slot}\npath = "ram:{DISK}"\n' for slot in range(disks))
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
        for number, level, disks, lost in LUNS:
            present = [f"1.{slot + at}" for at in range(disks - lost)]
            members = present[:1] + ["missing"] * lost + present[1:]
            slot += disks
            self.ledge("make", "-c", number, level, *members)
            self.ledge("online", number)

    def ledge(self, *words):
        return run(self.bin / "ledge", "--socket", self.directory / "control.sock", *words,
                   capture_output=True, text=True).stdout

    def load(self, lun, options):
        words = ["ip", "netns", "exec", self.client, "taskset", "-c", str(os.cpu_count() - 1),
                 self.bin / "aoeload", "--interface", "eth0", "--target", f"1.{lun}",
                 "--depth", self.arguments.depth, "--seconds", self.arguments.seconds, "--json", *options]
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
    rows = {case[0]: [] for case in CASES}
    rates = {case[0]: [] for case in CASES}
    try:
        bench.start()
        for lun, *_ in LUNS:
            bench.load(lun, ("--op", "write", "--sequential"))
        for _ in range(arguments.rounds):
            for name, lun, reference, factor, _, options in CASES:
                base = figure(bench.load(reference, options))
                rate = figure(bench.load(lun, options))
                rows[name].append(rate / (base * factor))
                rates[name].append((rate, base))
        counters = bench.ledge("aoestats")
    finally:
        bench.stop()
    lines = ["| case (`ram:` disks) | IOPS | reference | ratio: median (min to max) | bar |", "| --- | --- | --- | --- | --- |"]
    for name, _, _, _, bar, _ in CASES:
        ratios = rows[name]
        rate, base = (statistics.median(column) for column in zip(*rates[name]))
        bar = f"{bar:.2f}" if bar else ""
        lines.append(f"| {name} | {rate:.0f} | {base:.0f} | {statistics.median(ratios):.2f} "
                     f"({min(ratios):.2f} to {max(ratios):.2f}) | {bar} |")
    print("\n".join(lines))
    print("\n".join(line for line in counters.splitlines() if "INFO" not in line))
    if arguments.out:
        (pathlib.Path(arguments.out) / "raid.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
