#!/usr/bin/env python3
"""Instructions that the core takes for a request of 8 KiB, counted, not timed: the same on a busy machine.

Usage: instructions.py DIRECTORY_OF_THE_RELEASE_BINARIES [--write]

Each case runs twice in valgrind, once with more requests: the difference is what these took, without the start.
The counts must not exceed those of bench/results/instructions.json by more than 3 %. --write writes that file: do so
when a rise is wanted, and say why in the commit, or when the counts have fallen.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

CASES = ["raid0-read", "raid0-write", "raid10-read", "raid10-write", "raid5-write", "raid6-write"]
FEW, MANY = 2_000, 6_000
RISE_MAX = 0.03
FILE = pathlib.Path(__file__).parent / "results" / "instructions.json"


def count(binary, case, requests):
    """Instructions of a whole run."""
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", binary,
               "--count", case, "--requests", requests, "--disk-mib", 48]
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    found = re.search(r"I\s+refs:\s+([0-9,]+)", run.stderr)
    if run.returncode != 0 or not found:
        sys.exit(f"{case}: exit status {run.returncode}:\n{run.stdout}{run.stderr}")
    return int(found[1].replace(",", ""))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    binary = pathlib.Path(arguments.bin).resolve() / "corebench"
    if not binary.exists():
        sys.exit(f"{binary} is missing: make build")
    counts = {}
    for case in CASES:
        counts[case] = round((count(binary, case, MANY) - count(binary, case, FEW)) / (MANY - FEW))
    if arguments.write:
        FILE.write_text(json.dumps(counts, indent=2) + "\n")
    known = json.loads(FILE.read_text())
    failed = False
    for case, instructions in counts.items():
        rise = instructions / known[case] - 1
        too_many = rise > RISE_MAX
        failed |= too_many
        print(f"{case:14} {instructions:7} instructions, {rise:+.1%}{'  MORE THAN 3 %' if too_many else ''}")
    if failed:
        sys.exit("the core takes more instructions than before: see the head of bench/instructions.py")


if __name__ == "__main__":
    main()
