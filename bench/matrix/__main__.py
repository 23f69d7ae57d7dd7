#!/usr/bin/env python3
"""The comparison matrix. `options.py` says what it takes, `cases.py` what is measured."""
import importlib.util
import json
import os
import pathlib
import platform
import shutil
import signal
import sys
import tempfile
import time

import cpu
import figures
import loads
import loss
import report
from cases import MODES, Matrix
from network import Network
from options import parse
from targets import Responder, Shelf

BACKENDS = ("packet", "xdp")


def choose_mode(matrix, options):
    """What `auto` comes to here, unless a mode was asked for."""
    if options.asked_mode:
        return options.asked_mode
    shelf = matrix.add(Shelf, "ledged-auto", options.bin, "auto", ["ram:32M"], [])
    matrix.start(shelf)
    shelf.stop()
    if shelf.name in matrix.failures:
        raise SystemExit(f"error: {matrix.failures[shelf.name]}")
    return shelf.mode


def choose_backend(matrix, options):
    """The backend of the generator that gets most from the bare responder, and what each got."""
    bare = matrix.add(Responder, "bare-ceiling", options.bin, options.mode)
    matrix.start(bare)
    rates = {}
    for backend in BACKENDS:
        options.generator = (options.bin / "aoeload", backend)
        rates[backend] = {}
        for operation in ("read", "write"):
            bare.resume()
            try:
                got = matrix.aoe(bare, "9.0", operation, 8192, 64, max(options.seconds, 0.5), "--random")["iops"]
            except Exception as error:
                got = str(error)
            rates[backend][operation] = got
    bare.stop()
    total = lambda backend: sum(rate for rate in rates[backend].values() if isinstance(rate, float))
    best = options.backend or max(BACKENDS, key=total)
    options.generator = (options.bin / "aoeload", best)
    return {"backend": best, "rates": rates}


def measure_rounds(matrix, options, results):
    """All cases in every round: those of one key stand beside one another, so that their targets take turns."""
    for number in range(1, options.rounds + 1):
        for at, case in enumerate(matrix.cases, 1):
            measured = matrix.measure(case)
            results.setdefault(case.key, {}).setdefault(case.subject, []).append(measured)
            told = f"failed: {measured['error'][:160]}" if "error" in measured else f"{measured['iops']:,.0f}/s"
            print(f"round {number}/{options.rounds}, {at}/{len(matrix.cases)}: {case.name}: {told}", flush=True)


def measure_losses(matrix, options, losses):
    """The rows of zero loss, by a shelf of their own; gives how long the CPUs are taken away before and after."""
    rows = [row for row in loss.ROWS if options.wants(f"zero loss, {row[0]}")]
    if not rows:
        return {}
    shelf = loss.Loss(matrix)
    shelf.start()
    try:
        before = shelf.stalls()
        measure_loss_rows(shelf, rows, losses)
        return {"before": before, "after": shelf.stalls()}
    except (RuntimeError, OSError, ValueError) as error:
        return {"error": str(error)}


def measure_loss_rows(shelf, rows, losses):
    for row in rows:
        measured = losses[row[0]] = shelf.measure(row)
        told = f"failed: {measured['error'][:160]}" if "error" in measured else (
            f"{measured['iops']:,.0f}/s, {'holds' if measured['holds'] else measured['counts']}")
        print(f"zero loss, {row[0]}: {told}", flush=True)


def host():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return {"cpus": os.cpu_count(), "model": models[0] if models else platform.machine(),
            "kernel": platform.release(), "busy": cpu.busy_part()}


def versions():
    debian = lambda package: loads.version("dpkg-query", "-W", "-f", "${Version}", package)
    return {package: debian(package) for package in ("vblade", "tgt", "qemu-utils", "libiscsi-bin", "fio")}


def complete(document):
    """Adds what is computed from the measurements."""
    results = document["results"]
    document["figures"] = [row.evaluate(results) for row in figures.rows(MODES, document["mode"])
                           if row.above[0] in results]
    return document


def write(document, out):
    """JSON, plots and report."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "matrix.json").write_text(json.dumps(document, indent=1) + "\n")
    import plots
    (out / "matrix.md").write_text(report.render(document, plots.draw(document, out)))
    print(f"written: {out / 'matrix.md'}", flush=True)


def measure(matrix, options):
    document = {"host": host(), "date": time.strftime("%Y-%m-%d"), "rounds": options.rounds,
                "seconds": options.seconds, "loss_seconds": options.loss_seconds, "versions": versions()}
    begin, stolen = time.monotonic(), cpu.stolen_seconds()
    results, losses = {}, {}
    options.mode = document["mode"] = choose_mode(matrix, options)
    print(f"the shelf's mode: {options.mode}", flush=True)
    document["ceiling"] = choose_backend(matrix, options)
    print(f"generator: {document['ceiling']}", flush=True)
    matrix.build()
    matrix.start_all()
    measure_rounds(matrix, options, results)
    matrix.stop()
    document["stalls"] = measure_losses(matrix, options, losses)
    document["elapsed_seconds"] = time.monotonic() - begin
    document["stolen_seconds"] = cpu.stolen_seconds() - stolen
    return complete({**document, "results": results, "losses": figures.loss_rows(losses)})


def show_names(options):
    options.mode = options.asked_mode or MODES[0]
    matrix = Matrix(None, pathlib.Path(), pathlib.Path(), options)
    matrix.build()
    for name in [case.name for case in matrix.cases] + [f"zero loss, {row[0]}" for row in loss.ROWS]:
        print(name)


def ended(number, _frame):
    raise SystemExit(128 + number)


def main():
    options = parse()
    if options.list:
        return show_names(options)
    if options.render:
        return write(complete(json.loads(options.render.read_text())), options.out)
    if os.geteuid():
        raise SystemExit("error: namespaces need root")
    # Said now, not when all has been measured.
    if importlib.util.find_spec("matplotlib") is None:
        raise SystemExit(f"error: {sys.executable} has no matplotlib; deploy/packages.sh bench installs Debian's, "
                         "for /usr/bin/python3")
    signal.signal(signal.SIGTERM, ended)
    network = Network()
    # The disk files lie on a real file system: /tmp may be memory.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ledge-matrix-", dir="/var/tmp"))
    memory = pathlib.Path(tempfile.mkdtemp(prefix="ledge-matrix-", dir="/dev/shm"))
    matrix = Matrix(network, directory, memory, options)
    try:
        network.open()
        document = measure(matrix, options)
    except KeyboardInterrupt:
        raise SystemExit("interrupted: nothing is written") from None
    finally:
        # A second Ctrl-C does not leave half of it behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        matrix.stop()
        network.close()
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(memory, ignore_errors=True)
    write(document, options.out)


if __name__ == "__main__":
    sys.exit(main())
