#!/usr/bin/env python3
"""Frames that the XDP program spreads among two workers, against frames that one of them receives and hands on.

Usage: spreading.py DIRECTORY_OF_THE_RELEASE_BINARIES [--rounds N] [--seconds N] [--mode native|generic]

The same shelf both times, with two workers over drives in memory. Where its end of a veth pair has one queue the
workers share it; where it has two, each has one, and all frames come to the first: the other end has one queue. By
turns in each round; medians, least and most. The CPU time is that of the shelf, kernel and all, for each command.
Needs root, and a quiet machine: with both ends on two CPUs the load generator takes what a third one would do.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

CASES = [("read", 1), ("read", 32), ("write", 1), ("write", 32)]
WAYS = {"spread": 1, "handed on": 2}
NEAR, FAR = "ledge-sp-near", "ledge-sp-far"


def run(*words):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


class Wire:
    """Two namespaces that a veth pair joins; its near end has so many queues."""

    def __init__(self, queues):
        self.queues = queues

    def __enter__(self):
        for name in (NEAR, FAR):
            run("ip", "netns", "add", name)
        near = ("numrxqueues", self.queues, "numtxqueues", self.queues)
        far = ("numrxqueues", self.queues, "numtxqueues", 1)
        run("ip", "link", "add", "near0", "netns", NEAR, "mtu", 9000, *near, "type", "veth",
            "peer", "name", "far0", "netns", FAR, "mtu", 9000, *far)
        run("ip", "-n", NEAR, "link", "set", "near0", "up")
        run("ip", "-n", FAR, "link", "set", "far0", "up")
        return self

    def __exit__(self, *_):
        for name in (NEAR, FAR):
            run("ip", "netns", "del", name)


def cpu_ns(pid):
    """What all threads of a process have run."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def measure(binaries, way, arguments):
    """IOPS and CPU time of each case."""
    with tempfile.TemporaryDirectory() as directory, Wire(WAYS[way]):
        disks = "".join(f'[[disk]]\nslot = {slot}\npath = "ram:64M"\n' for slot in range(4))
        config = pathlib.Path(directory) / "ledge.toml"
        config.write_text(f'shelf = 1\nworkers = 2\nstate_dir = "{directory}/state"\n'
                          f'control_socket = "{directory}/control"\n'
                          f'[[port]]\ninterface = "near0"\nmode = "{arguments.mode}"\n{disks}')
        shelf = subprocess.Popen(["nsenter", f"--net=/run/netns/{NEAR}", binaries / "ledged", "--config", config],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            if "ready" not in shelf.stdout.readline():
                raise SystemExit(f"the shelf does not start: {config.read_text()}")
            for command in ("make 0 raid0 1.0-3", "online 0"):
                run(binaries / "ledge", "--socket", f"{directory}/control", *command.split())
            found = {}
            for op, depth in CASES:
                before = cpu_ns(shelf.pid)
                told = json.loads(run(
                    "nsenter", f"--net=/run/netns/{FAR}", binaries / "aoeload", "--interface", "far0", "--target", "1.0",
                    "--op", op, "--size", 8192, "--depth", depth, "--seconds", arguments.seconds, "--warmup", 0,
                    "--random", "--json"))
                commands = max(1.0, told["iops"] * arguments.seconds)
                found[op, depth] = (told["iops"], (cpu_ns(shelf.pid) - before) / commands)
            return found
        finally:
            shelf.terminate()
            shelf.wait(timeout=60)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--mode", default="native")
    arguments = parser.parse_args()
    rounds = [{way: measure(arguments.binaries, way, arguments) for way in WAYS} for _ in range(arguments.rounds)]
    print(f"load of the machine now {os.getloadavg()[0]:.1f}; at {time.strftime('%F %T', time.gmtime())} UTC")
    print("| 8 KiB, two workers, one queue | " + " | ".join(WAYS) + " | IOPS, ratio of each round | CPU, ratio |")
    print("| --- | --- | --- | --- | --- |")
    for case in CASES:
        cells = []
        for way in WAYS:
            iops = sorted(found[way][case][0] for found in rounds)
            cpu = statistics.median(found[way][case][1] for found in rounds)
            cells.append(f"{statistics.median(iops):.0f} ({iops[0]:.0f} to {iops[-1]:.0f}), {cpu / 1000:.1f} µs CPU")
        ratios = [[found["spread"][case][part] / found["handed on"][case][part] for found in rounds] for part in (0, 1)]
        cells += [f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in ratios]
        print(f"| {case[0]}, depth {case[1]} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
