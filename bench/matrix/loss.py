"""The rows of zero loss: an open loop at the rate of 10GbE, without retransmission, for a minute each.

A command counts as lost that got no answer in two seconds, or could not be sent when it was due because
64 were under way already. aoeload follows the frames layer by layer: generator, both ends of the wire, the
shelf's port and its target.

How slow the slowest hundredth is, is a matter of the machine, too: a host that takes a CPU away for more than a
hundredth of the time makes it as slow as it stays away, whatever answers. So right before each row the bare
responder is asked the same for some seconds, and before and after all of them a program that does nothing but
read the clock tells how long either CPU is taken away (`corebench stalls`).
"""
import json
import statistics
import subprocess

from cases import MEMBER_MIB
from targets import TARGET_CPU, Responder, Shelf

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

# Of the time of a row: how long the responder is asked, and at most; and how long stalls are looked for.
RESPONDER_PART, RESPONDER_SECONDS_MAX = 0.1, 6
STALLS_SECONDS_MAX = 10


def losses_of(result):
    """Frames that are missing, by the layer in which they stayed and what was seen of them there."""
    found = {}
    for way in result["losses"]["ways"]:
        for layer in way["layers"]:
            if layer["lost"]:
                found[layer["layer"]] = {"lost": layer["lost"],
                                         "seen": {sight["what"]: sight["frames"] for sight in layer["seen"]}}
    return found


def missing(result):
    return sum(way["missing"] for way in result["losses"]["ways"])


def p99_of_seconds(result):
    """The p99 of the median second, which a stop of the machine in other seconds does not reach."""
    seconds = [row["latency_us"]["p99"] for row in result["series"] if row["latency_us"] and row["seconds"] > 0.5]
    return statistics.median(seconds) if seconds else None


def verdict(result):
    """Whether nothing was lost anywhere, and the slowest hundredth was fast enough."""
    counts = result["counts"]
    lost = counts["lost"] + counts["overdue"] + missing(result)
    return lost == 0 and result["latency_us"]["p99"] <= P99_US_MAX


def stalls(binaries, cpus, seconds):
    """How long each CPU is taken away from a program that spins on it; all at once, as in a row."""
    words = lambda cpu: [binaries / "corebench", "stalls", "--cpu", cpu, "--seconds", seconds, "--late-us", P99_US_MAX]
    programs = [subprocess.Popen([str(word) for word in words(cpu)], stdout=subprocess.PIPE, text=True) for cpu in cpus]
    told = [program.communicate(timeout=seconds * 3 + 20)[0] for program in programs]
    if any(program.returncode for program in programs):
        raise RuntimeError(f"corebench stalls: {told}")
    return [json.loads(text) for text in told]


class Loss:
    """The shelf with a LUN of each kind, made for these rows alone, and the bare responder."""

    def __init__(self, matrix):
        self.matrix, self.options = matrix, matrix.options
        disks = [f"ram:{MEMBER_MIB}M"] * 27
        self.shelf = matrix.add(Shelf, "ledged-loss", self.options.bin, self.options.mode, disks, LUNS)
        self.bare = matrix.add(Responder, "bare-loss", self.options.bin, self.options.mode)

    def start(self):
        for target in (self.shelf, self.bare):
            self.matrix.start(target)

    def stalls(self):
        seconds = min(self.options.loss_seconds / 4, STALLS_SECONDS_MAX)
        return stalls(self.options.bin, (TARGET_CPU, self.options.client_cpu), seconds)

    def load(self, target, address, words, part, seconds, *more):
        result = self.matrix.aoe(
            target, address, words[1], 8192, 64, seconds, "--rate", LINE_RATE * part, "--retransmit", "never",
            "--deadline", 2, "--peer-interface", f"{target.wire.namespace}:eth1", *words[2:], *more)
        return {**result, "p99_of_seconds": p99_of_seconds(result)}

    def responder(self, words, part):
        """What the bare responder makes of the same commands."""
        if self.bare.name in self.matrix.failures:
            return {"error": self.matrix.failures[self.bare.name]}
        self.bare.resume()
        try:
            seconds = min(self.options.loss_seconds * RESPONDER_PART, RESPONDER_SECONDS_MAX)
            result = self.load(self.bare, "9.0", words, part, max(seconds, 1))
            return {name: result[name] for name in ("iops", "latency_us", "counts", "p99_of_seconds")}
        except Exception as error:
            return {"error": str(error)}
        finally:
            self.bare.pause()

    def measure(self, row):
        title, number, words, part = row
        if self.shelf.name in self.matrix.failures:
            return {"error": self.matrix.failures[self.shelf.name]}
        try:
            responder = self.responder(words, part)
            result = self.load(self.shelf, f"1.{number}", words, part, self.options.loss_seconds,
                               "--shelf-socket", self.shelf.socket)
            measured = {**result, "rate": LINE_RATE * part, "missing": missing(result), "layers": losses_of(result),
                        "responder": responder, "holds": verdict(result)}
            del measured["losses"], measured["series"]
            return measured
        except Exception as error:
            return {"error": str(error)}
