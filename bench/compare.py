#!/usr/bin/env python3
"""aoeload against ledged and Debian's vblade, interleaved in one run: medians and ratios.

Usage: compare.py DIRECTORY_OF_THE_BINARIES [--rounds N] [--seconds S] [--out DIRECTORY]

Two namespaces, one for each target, are joined to a third, the client, by a veth pair each at MTU
9000. Two comparisons: a `ram:` disk beside vblade over a file on tmpfs, and a raw LUN over an O_DIRECT
file beside `vblade -d` over the same file. The targets run on CPU 0, aoeload on the last CPU. Every
round measures every case once, the two targets in turn; absolute figures mean nothing from one machine
or run to the next, ratios do. Needs root.
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

DEPTHS = (1, 32, 64)
OPS = ("read", "write")
FILE_BYTES = 1 << 30
RAM_BYTES = 512 << 20


def run(*words):
    subprocess.run(words, check=True)


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.bin = pathlib.Path(arguments.bin).resolve()
        tag = os.getpid()
        self.shelf, self.vblade, self.client = (f"lb-{n}-{tag}" for n in ("shelf", "vblade", "client"))
        # The disk files lie beside the results, on a real file system: /tmp may be memory.
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ledge-bench-", dir="/var/tmp"))
        self.memory = pathlib.Path(tempfile.mkdtemp(prefix="ledge-bench-", dir="/dev/shm"))
        self.children = []

    def in_namespace(self, namespace, cpu, *words):
        return ["ip", "netns", "exec", namespace, "taskset", "-c", str(cpu), *map(str, words)]

    def start(self, namespace, *words, log):
        output = open(self.directory / log, "wb")
        command = self.in_namespace(namespace, 0, *words)
        child = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        self.children.append(child)

    def network(self):
        for namespace in (self.shelf, self.vblade, self.client):
            run("ip", "netns", "add", namespace)
            run("ip", "netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        for namespace, near in ((self.shelf, "eth0"), (self.vblade, "eth1")):
            run("ip", "link", "add", "eth1", "netns", namespace, "mtu", "9000", "type", "veth",
                "peer", "name", near, "netns", self.client, "mtu", "9000")
            run("ip", "-n", namespace, "link", "set", "eth1", "up")
            run("ip", "-n", self.client, "link", "set", near, "up")

    def targets(self):
        file = self.directory / "disk"
        with open(file, "wb") as disk:
            # Written, not sparse: block allocation is not what is measured.
            for _ in range(FILE_BYTES >> 20):
                disk.write(bytes(1 << 20))
            os.fsync(disk.fileno())
        tmpfs = self.memory / "disk"
        with open(tmpfs, "wb") as disk:
            for _ in range(RAM_BYTES >> 20):
                disk.write(bytes(1 << 20))
        config = self.directory / "ledge.toml"
        mode = self.arguments.mode
        config.write_text(
            f'shelf = 1\nstate_dir = "{self.directory}/state"\n'
            f'control_socket = "{self.directory}/control.sock"\ncores = [0]\n'
            f'[[port]]\ninterface = "eth1"\nmode = "{mode}"\n'
            f'[[disk]]\nslot = 0\npath = "ram:{RAM_BYTES >> 20}M"\n'
            f'[[disk]]\nslot = 1\npath = "{file}"\n')
        self.start(self.shelf, self.bin / "ledged", "--config", config, log="ledged.log")
        self.wait_for("ready", self.directory / "ledged.log")
        for lun in (0, 1):
            self.ledge("make", str(lun), "raw", f"1.{lun}")
            self.ledge("online", str(lun))
        self.start(self.vblade, "vblade", "2", "0", "eth1", tmpfs, log="vblade-tmpfs.log")
        # -d: O_DIRECT. -s: a write is answered when it is durable, as ledged always does.
        self.start(self.vblade, "vblade", "-d", "2", "1", "eth1", file, log="vblade-direct.log")
        self.start(self.vblade, "vblade", "-d", "-s", "2", "2", "eth1", file, log="vblade-sync.log")
        time.sleep(1)

    def wait_for(self, word, log):
        for _ in range(100):
            if word in log.read_text(errors="replace"):
                return
            time.sleep(0.1)
        sys.exit(f"error: ledged did not start:\n{log.read_text(errors='replace')}")

    def ledge(self, *words):
        run(self.bin / "ledge", "--socket", self.directory / "control.sock", *words)

    def load(self, interface, target, op, depth):
        cpu = os.cpu_count() - 1
        command = self.in_namespace(
            self.client, cpu, self.bin / "aoeload", "--interface", interface, "--target", target,
            "--op", op, "--random", "--size", 8192, "--depth", depth, "--warmup", "0.3",
            "--seconds", self.arguments.seconds, "--backend", self.arguments.backend, "--json")
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            sys.exit(f"error: {' '.join(command)}\n{result.stdout}\n{result.stderr}")
        return json.loads(result.stdout)

    def cases(self):
        for op in OPS:
            for depth in DEPTHS:
                yield f"memory, {op}, depth {depth}", op, depth, ("eth0", "1.0"), ("eth1", "2.0")
        for op in OPS:
            for depth in DEPTHS:
                yield (f"O_DIRECT file, {op}, depth {depth}, against vblade -d", op, depth,
                       ("eth0", "1.1"), ("eth1", "2.1"))
        for depth in DEPTHS:
            yield (f"O_DIRECT file, durable write, depth {depth}, against vblade -d -s", "write", depth,
                   ("eth0", "1.1"), ("eth1", "2.2"))

    def measure(self):
        rows = {}
        for number in range(self.arguments.rounds):
            for name, op, depth, ours, theirs in self.cases():
                pair = [self.load(*where, op, depth) for where in (ours, theirs)]
                rows.setdefault(name, []).append(pair)
                print(f"round {number + 1}: {name}: {figures(pair[0])} against {figures(pair[1])}", flush=True)
        return rows

    def close(self):
        for child in self.children:
            try:
                os.killpg(child.pid, signal.SIGTERM)
                child.wait(timeout=10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                child.kill()
        for namespace in (self.shelf, self.vblade, self.client):
            subprocess.run(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(self.memory, ignore_errors=True)


def iops(result):
    return result["iops"]


def p50(result):
    """Microseconds."""
    return (result["read"] or result["write"])["latency_us"]["p50"]


def figures(result):
    return f"{iops(result):.0f}/s p50 {p50(result):.1f} us"


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def table(rows):
    lines = [
        "| case (8 KiB, random) | ledged IOPS | vblade IOPS | ratio: median (min to max) | p50 ratio vblade/ledged |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, pairs in rows.items():
        ours, theirs = ([iops(pair[i]) for pair in pairs] for i in (0, 1))
        ratios = [a / b for a, b in zip(ours, theirs)]
        latency = [p50(pair[1]) / p50(pair[0]) for pair in pairs]
        lines.append(f"| {name} | {statistics.median(ours):.0f} | {statistics.median(theirs):.0f} "
                     f"| {spread(ratios)} | {spread(latency)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--mode", default="auto", help="mode of the shelf's port")
    parser.add_argument("--backend", default="packet", help="backend of aoeload")
    parser.add_argument("--out", default=pathlib.Path(__file__).parent / "results", type=pathlib.Path)
    arguments = parser.parse_args()
    bench = Bench(arguments)
    try:
        bench.network()
        bench.targets()
        rows = bench.measure()
    finally:
        bench.close()
    text = (f"{arguments.rounds} rounds of {arguments.seconds} s, port mode {arguments.mode}, aoeload backend "
            f"{arguments.backend}, {os.cpu_count()} CPUs, Linux {platform.release()}, "
            f"{time.strftime('%Y-%m-%d')}\n\n{table(rows)}\n")
    print("\n" + text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "compare.md").write_text("# ledged beside vblade\n\n" + text)
    (arguments.out / "compare.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
