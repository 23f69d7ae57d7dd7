#!/usr/bin/env python3
"""Instructions that the core takes for a request of 8 KiB, and each of its stages, counted, not timed: the same on a
busy machine.

Usage: instructions.py DIRECTORY_OF_THE_RELEASE_BINARIES [--write]

Valgrind counts the measured part of `corebench --count` and of `corebench stages`, after as much again that warms up.
No count may exceed that of bench/results/instructions.json by more than 3 %, and that of a stage not its budget, which
the documentation of its module tells. --write writes that file: do so when a rise is wanted, and say why in the
commit, or when the counts have fallen. Needs root: ports are opened in namespaces.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

CASES = ["raid0-read", "raid0-write", "raid10-read", "raid10-write", "raid5-write", "raid6-write"]
REQUESTS = 4_000
# Laps of a stage.
LAPS = 20
RISE_MAX = 0.03
FILE = pathlib.Path(__file__).parent / "results" / "instructions.json"


def count(binary, *words):
    """Instructions of the measured part of a run, and what it printed."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*measured_part*",
               binary, *words]
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    found = re.search(r"Collected : ([0-9]+)", run.stderr)
    if run.returncode != 0 or not found or int(found[1]) == 0:
        sys.exit(f"{' '.join(map(str, words))}: exit status {run.returncode}:\n{run.stdout}{run.stderr}")
    return int(found[1]), run.stdout


def count_case(binary, case):
    instructions, _ = count(binary, "--count", case, "--requests", REQUESTS, "--disk-mib", 48)
    return round(instructions / REQUESTS)


def count_stage(binary, stage):
    instructions, requests = count(binary, "stages", stage, "--count", LAPS)
    return round(instructions / int(requests))


def complaint(instructions, known, budget):
    """What is wrong with a count, if anything is."""
    if known is None:
        return "NOT RECORDED: --write"
    if instructions > known * (1 + RISE_MAX):
        return f"MORE THAN {RISE_MAX:.0%} ABOVE {known}"
    if budget is not None and instructions > budget:
        return f"OVER ITS BUDGET OF {budget}"
    return ""


def compare(kind, counts, known, budgets):
    """Prints the counts of a kind; the names of those that are too high."""
    failed = []
    print(f"{kind}:")
    for name, instructions in counts.items():
        before, budget = known.get(name), budgets.get(name, {}).get("instructions")
        rise = f"{instructions / before - 1:+.1%}" if before else ""
        of_budget = f"of {budget}" if budget is not None else ""
        wrong = complaint(instructions, before, budget)
        failed += [name] if wrong else []
        print(f"  {name:14} {instructions:7} {of_budget:9} {rise:7} {wrong}".rstrip())
    return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    binary = pathlib.Path(arguments.bin).resolve() / "corebench"
    if not binary.exists():
        sys.exit(f"{binary} is missing: make build")
    budgets = json.loads(subprocess.check_output([binary, "stages", "--budgets"]))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        requests = dict(zip(CASES, pool.map(lambda case: count_case(binary, case), CASES)))
        stages = dict(zip(budgets, pool.map(lambda stage: count_stage(binary, stage), budgets)))
    if arguments.write:
        FILE.write_text(json.dumps({"requests": requests, "stages": stages}, indent=2) + "\n")
    known = json.loads(FILE.read_text())
    failed = compare("requests", requests, known["requests"], {})
    failed += compare("stages", stages, known["stages"], budgets)
    if failed:
        sys.exit(f"more instructions than there may be: {', '.join(failed)}; see the head of bench/instructions.py")


if __name__ == "__main__":
    main()
