"""The command line."""
import argparse
import os
import pathlib
import re

HERE = pathlib.Path(__file__).parent
RESULTS = HERE.parent / "results"

ABOUT = """The shelf beside its peers: all comparisons of a run in turn, five rounds of them, medians and their spread.
Writes JSON, a report in Markdown and plots. Needs root, the packages of `deploy/packages.sh bench`, about 25 minutes,
and a machine with nothing else to do."""


class Options(argparse.Namespace):
    """What was asked for, and what was found out about the machine."""

    # The program that loads AoE targets, and its backend; the mode of the shelf.
    generator = None
    mode = None

    @property
    def client_cpu(self):
        return os.cpu_count() - 1

    def wants(self, name):
        return self.only is None or self.only.search(name)


def parse(words=None):
    parser = argparse.ArgumentParser(prog="matrix", description=ABOUT)
    parser.add_argument("bin", type=pathlib.Path, nargs="?", default=pathlib.Path("target/release"),
                        help="directory of the binaries")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (default 5)")
    parser.add_argument("--seconds", type=float, help="time of each measurement (default 1)")
    parser.add_argument("--loss-seconds", type=float, help="time of each row of zero loss (default 60)")
    parser.add_argument("--quick", action="store_true", help="one short round: whether it works, no figures")
    parser.add_argument("--only", type=re.compile, metavar="REGEX", help="only what has such a name; --list shows names")
    parser.add_argument("--list", action="store_true", help="show the names of all measurements and end")
    parser.add_argument("--mode", choices=("generic", "native", "packet"), dest="asked_mode",
                        help="mode of the shelf whose rows come first (default: what its mode auto chooses)")
    parser.add_argument("--backend", choices=("packet", "xdp"), help="backend of aoeload (default: the one that loads hardest)")
    parser.add_argument("--out", type=pathlib.Path, help="where to write (default: bench/results; target/matrix for a part)")
    parser.add_argument("--render", type=pathlib.Path, metavar="JSON", help="write the report of an earlier run anew and end")
    options = parser.parse_args(words, Options())
    rounds, seconds, loss_seconds = (1, 0.3, 1) if options.quick else (5, 1.0, 60)
    options.rounds = options.rounds or rounds
    options.seconds = options.seconds or seconds
    options.loss_seconds = options.loss_seconds or loss_seconds
    is_part = options.quick or options.only
    options.out = options.out or (pathlib.Path("target/matrix") if is_part else RESULTS)
    options.bin = options.bin.resolve()
    return options
