"""The rows of zero loss: an open loop at the rate of 10GbE, without retransmission, for a minute each.

A command counts as lost that got no answer in two seconds, or could not be sent when it was due because
64 were under way already. Losses are looked for at each layer: generator, both ends of the wire, the
shelf's port and its target.
"""
import json

from cases import MEMBER_MIB
from targets import Shelf

# 8 KiB frames on 10GbE (a frame is 8,228 bytes and 24 more on the wire).
LINE_RATE = 151_478
# 64 commands under way at that rate.
P99_US_MAX = 423

LUNS = [("raid0", range(0, 4)), ("raid10", range(4, 12)), ("raid5", range(12, 17)), ("raid6", range(17, 27))]

# Title, number of the LUN, aoeload options, part of the line rate.
ROWS = (
    [(f"{level}, random {name}", number, ["--op", operation, "--random", *more], 1.0)
     for number, level in ((0, "raid0"), (1, "raid10"))
     for name, operation, more in (("reads", "read", []), ("writes", "write", []), ("50/50", "mixed", ["--mix", 50]))]
    + [(f"{level}, {name}", number, ["--op", operation, way], part)
       for number, level in ((2, "raid5 4+1"), (3, "raid6 8+2"))
       for name, operation, way, part in (("random reads", "read", "--random", 1.0),
                                          ("sequential writes", "write", "--sequential", 0.8))]
)

# Counters of `ledge ifstat -a` whose rise is a lost frame: of the port's rings, and of the target. Those of the
# interface are looked at from both ends of the wire.
LOSSES = ("rx_dropped", "rx_ring_full", "rx_invalid", "tx_invalid", "tx_too_long", "kernel_errors", "aoe_to_kernel",
          "no_buffer", "commands_dropped")


def counters(value, path=()):
    """All numbers of a JSON value by their path."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    else:
        return {path: value} if isinstance(value, int) and not isinstance(value, bool) else {}
    return {where: number for name, inner in pairs
            for where, number in counters(inner, (*path, str(name))).items()}


def rises(before, after):
    """Losses between two readings, by the name of the counter."""
    return {"/".join(path): number - before.get(path, 0) for path, number in after.items()
            if number > before.get(path, 0) and path[-1] in LOSSES and "nic" not in path}


def verdict(result):
    """Whether nothing was lost anywhere, and the slowest hundredth was fast enough."""
    counts = result["counts"]
    lost = counts["lost"] + counts["overdue"] + result["wire_drops"] + sum(result["shelf_losses"].values())
    return lost == 0 and result["latency_us"]["p99"] <= P99_US_MAX


class Loss:
    """The shelf with a LUN of each kind, made for these rows alone."""

    def __init__(self, matrix):
        self.matrix = matrix
        disks = [f"ram:{MEMBER_MIB}M"] * 27
        self.shelf = matrix.add(Shelf, "ledged-loss", matrix.options.bin, matrix.options.mode, disks, LUNS)

    def read_counters(self):
        return counters(json.loads(self.shelf.console("ifstat", "-a", "-j")))

    def measure(self, row):
        title, number, words, part = row
        if self.shelf.name in self.matrix.failures:
            return {"error": self.matrix.failures[self.shelf.name]}
        try:
            before, wire = self.read_counters(), self.shelf.wire.dropped()
            result = self.matrix.aoe(
                self.shelf, f"1.{number}", words[1], 8192, 64, self.matrix.options.loss_seconds,
                "--rate", LINE_RATE * part, "--retransmit", "never", "--deadline", 2, *words[2:])
            result["wire_drops"] = self.shelf.wire.dropped() - wire
            result["shelf_losses"] = rises(before, self.read_counters())
            return {**result, "rate": LINE_RATE * part, "holds": verdict(result)}
        except Exception as error:
            return {"error": str(error)}
