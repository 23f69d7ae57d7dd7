"""The table of figures: each row's bar, and what was measured, as ratios of one round and their median."""
import statistics

import loss
from cases import BESIDE_SPINNER, FIO_DURABLE, LUN_COUNTS, key


def iops(measured):
    return measured["iops"]


def iops_per_cpu_second(measured):
    return 1e6 / measured["cpu_us_per_io"]


def latency(percentile):
    return lambda measured: measured["latency_us"][percentile]


class Ratio:
    """`metric` of one subject by that of another, round by round. With `at_most` less is better; without a bar it
    stands beside one that has one."""

    def __init__(self, title, bar, metric, above, below, at_most=False):
        self.title, self.bar, self.metric, self.at_most = title, bar, metric, at_most
        self.above, self.below = above, below

    def evaluate(self, results):
        """Median, least and most; or why there is none."""
        rows = [results.get(where, {}).get(subject, []) for where, subject in (self.above, self.below)]
        pairs = [pair for pair in zip(*rows) if not any("error" in one for one in pair)]
        try:
            values = [self.metric(one) / self.metric(other) for one, other in pairs]
        except (KeyError, TypeError, ZeroDivisionError):
            values = []
        if not values:
            errors = [one["error"] for row in rows for one in row if "error" in one]
            return {"title": self.title, "bar": self.bar, "at_most": self.at_most,
                    "error": errors[0] if errors else "not measured"}
        median = statistics.median(values)
        told = {"title": self.title, "bar": self.bar, "at_most": self.at_most, "median": median,
                "min": min(values), "max": max(values), "rounds": len(values)}
        if self.bar is None:
            return told
        # How much of the bar is reached.
        part = self.bar / median if self.at_most else median / self.bar
        return {**told, "part": part, "holds": part >= 1}


def rows(modes, chosen):
    """All rows; each in the mode that was chosen first, since that is what users get, then in the others."""
    modes = [chosen] + [mode for mode in modes if mode != chosen]
    by_mode = zip(*(memory_rows(mode) for mode in modes))
    return [row for same in by_mode for row in same] + file_rows() + lun_rows()


def memory_rows(mode):
    """Against vblade on tmpfs, and against the responders in the same mode: the bare one, and the one with its disk
    in memory."""
    ours, bare, copying = f"ledged {mode}", f"bare responder {mode}", f"copying responder {mode}"
    at = lambda operation, depth: key("memory", operation, 8192, depth)
    found = []
    for operation, bar in (("read", 1.15), ("write", 1.5)):
        where = at(operation, 32)
        name = f"8 KiB random {operation}, depth 32, raid0 over 4 disks in memory, mode {mode}"
        found.append(Ratio(f"{name}: against vblade", bar, iops, (where, ours), (where, "vblade")))
        found.append(Ratio(f"{name}: against the bare responder", 0.85, iops, (where, ours), (where, bare)))
        found.append(Ratio(f"{name}: against the responder that copies from and to memory", 0.85, iops,
                           (where, ours), (where, copying)))
    for operation in ("read", "write"):
        where = at(operation, 1)
        found.append(Ratio(f"round trip at depth 1, {operation}, p50, mode {mode}: vblade's by ours", 3.0,
                           latency("p50"), (where, "vblade"), (where, ours)))
    small = key("MTU 1500", "read", 1024, 32)
    found.append(Ratio(f"1 KiB reads at MTU 1500, depth 32, mode {mode}: against vblade", 1.5, iops,
                       (small, ours), (small, "vblade")))
    return found


def file_rows():
    read, write = key("O_DIRECT file", "read", 8192, 64), key("O_DIRECT file, durable", "write", 8192, 64)
    found = [
        Ratio("8 KiB random read, depth 64, O_DIRECT file: against vblade -d", 8.0, iops,
              (read, "ledged"), (read, "vblade -d")),
        Ratio("the same: against fio io_uring", 0.9, iops, (read, "ledged"), (read, "fio io_uring")),
        Ratio("8 KiB random durable write, depth 64: against vblade -d -s", 8.0, iops,
              (write, "ledged"), (write, "vblade -d -s")),
    ]
    for subject in FIO_DURABLE:
        for beside, bar in (("", 0.85), (BESIDE_SPINNER, None)):
            found.append(Ratio(f"the same: against {subject} (io_uring){beside}", bar, iops,
                               (write, "ledged"), (write, f"{subject}{beside}")))
    for size in (4096, 8192):
        for group, operation in (("O_DIRECT file", "read"), ("O_DIRECT file, durable", "write")):
            where = key(group, operation, size, 64)
            name = f"{size // 1024} KiB {'durable ' if operation == 'write' else ''}{operation}, O_DIRECT, depth 64"
            for peer in ("iSCSI (tgt)", "NBD (qemu-nbd)"):
                for metric, what in ((iops, "IOPS"), (iops_per_cpu_second, "IOPS per CPU-second")):
                    found.append(Ratio(f"{name}: {what} against {peer}", 1.5, metric,
                                       (where, "ledged"), (where, peer)))
    return found


def lun_rows():
    where = key("LUNs", "read", 8192, 8)
    most = max(LUN_COUNTS)
    return [Ratio(f"latency p99.9 with {most} LUNs configured, against 1 LUN", 1.2, latency("p999"),
                  (where, f"{most} LUNs"), (where, "1 LUN"), at_most=True)]


def loss_rows(losses):
    """A row each: what was lost where."""
    return [{"title": f"zero loss at {int(loss.LINE_RATE * part):,}/s of 8 KiB: {title}", **losses[title]}
            for title, _, _, part in loss.ROWS if title in losses]
