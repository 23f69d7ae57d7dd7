#!/usr/bin/env python3
"""The executor alone beside fio with io_uring, on the same file, interleaved in one run: ratios.

Usage: executor.py DIRECTORY_OF_THE_BINARIES [--rounds N] [--seconds S] [--depths 1,8,64] [--file FILE]
                   [--baseline DIRECTORY_OF_OTHER_BINARIES]

Random 8 KiB I/O with O_DIRECT on a file that is wholly written. Durable writes are held against each way in
which fio makes writes durable before it counts them (`--sync=dsync`, alone and by several jobs, and a
synchronous job for each write under way); the best of the round is what counts. `raw write` is fio without any
durability: what no target can exceed. With `--baseline` an older corebench takes part. fio runs on CPU 0, and so does the thread of ours that polls.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

FILE_BYTES = 1 << 30


def fio(path, seconds, *options):
    command = ["taskset", "-c", "0", "fio", "--name=x", f"--filename={path}", f"--size={FILE_BYTES}", "--direct=1",
               "--bs=8k", "--ioengine=io_uring", "--registerfiles", "--fixedbufs", "--time_based",
               "--ramp_time=0.2", f"--runtime={seconds}", "--thread", "--group_reporting",
               "--output-format=json", *options]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"error: {' '.join(command)}\n{result.stderr}")
    (job,) = json.loads(result.stdout[result.stdout.index("{"):])["jobs"]
    return job["read"]["iops"] + job["write"]["iops"]


def executor(binaries, path, seconds, depth, *options):
    command = [pathlib.Path(binaries) / "corebench", "--file", path, "--core", 0, "--depth", depth,
               "--seconds", seconds, *options]
    for _ in range(100):
        result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if result.returncode == 0:
            return json.loads(result.stdout)["iops"]
        # The kernel closes the files of a ring some time after its process has ended.
        if "in use" not in result.stderr:
            break
        time.sleep(0.02)
    sys.exit(f"error: {command}\n{result.stderr}")


def cases(arguments, path):
    """Name, our run, an older one of ours, and fio's by name: the best of these counts."""
    seconds = arguments.seconds
    for depth in arguments.depths:
        for name, ours, rivals in (
            ("read", [], {"io_uring": ["--rw=randread", f"--iodepth={depth}"]}),
            ("durable write", ["--write"], durable(depth)),
        ):
            yield (
                f"{name}, depth {depth}",
                lambda depth=depth, ours=ours: executor(arguments.bin, path, seconds, depth, *ours),
                lambda depth=depth, ours=ours: executor(arguments.baseline, path, seconds, depth, *ours),
                {rival: (lambda options=options: fio(path, seconds, *options)) for rival, options in rivals.items()},
                lambda depth=depth: fio(path, seconds, "--rw=randwrite", f"--iodepth={depth}"),
            )


def durable(depth):
    ways = {"dsync": [f"--iodepth={depth}"]}
    if depth >= 4:
        ways["dsync, 4 jobs"] = [f"--iodepth={depth // 4}", "--numjobs=4"]
    ways["synchronous"] = ["--ioengine=psync", f"--numjobs={depth}"]
    return {name: ["--rw=randwrite", "--sync=dsync", *options] for name, options in ways.items()}


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def measure(arguments, path):
    rows = {}
    for number in range(arguments.rounds):
        for name, ours, older, rivals, raw in cases(arguments, path):
            row = {"ours": ours(), **{f"fio {way}": run() for way, run in rivals.items()}}
            if arguments.baseline:
                row["older"] = older()
            if "write" in name:
                row["raw write"] = raw()
            rows.setdefault(name, []).append(row)
            text = ", ".join(f"{way} {iops:.0f}" for way, iops in row.items())
            print(f"round {number + 1}: {name}: {text}", flush=True)
    return rows


def report(rows):
    for name, rounds in rows.items():
        best = [max(iops for way, iops in row.items() if way.startswith("fio ")) for row in rounds]
        line = f"{name}: {statistics.median(row['ours'] for row in rounds):.0f} IOPS, of fio's best "
        line += spread([row["ours"] / rival for row, rival in zip(rounds, best)])
        for other in ("raw write", "older"):
            if other in rounds[0]:
                line += f", of {other} " + spread([row["ours"] / row[other] for row in rounds])
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bin")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--depths", type=lambda text: [int(depth) for depth in text.split(",")], default=[1, 8, 64])
    parser.add_argument("--file", help="a file or disk that is overwritten, instead of a file of 1 GiB in /var/tmp")
    parser.add_argument("--baseline")
    arguments = parser.parse_args()
    if arguments.file:
        report(measure(arguments, arguments.file))
        return
    with tempfile.TemporaryDirectory(prefix="ledge-bench-", dir="/var/tmp") as directory:
        path = os.path.join(directory, "disk")
        with open(path, "wb") as disk:
            # Written, not sparse: block allocation is not what is measured.
            for _ in range(FILE_BYTES >> 20):
                disk.write(bytes(1 << 20))
            os.fsync(disk.fileno())
        report(measure(arguments, path))


main()
