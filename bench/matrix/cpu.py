"""What CPU a target takes: its process, and the softirqs of the CPU that it is pinned to."""
import os
import pathlib
import time

TICKS = os.sysconf("SC_CLK_TCK")


def process_seconds(pid):
    """User and system time of a process with all its threads, those of the kernel for its io_uring too."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 2:].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def softirq_seconds(cpu):
    """Interrupts and softirqs of a CPU."""
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        words = line.split()
        if words[0] == f"cpu{cpu}":
            return (int(words[6]) + int(words[7])) / TICKS
    raise RuntimeError(f"no CPU {cpu}")


def stolen_seconds():
    """What the host kept for others, all CPUs together."""
    return int(pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[8]) / TICKS


def busy_part(seconds=2.0):
    """What part of all CPUs others keep busy while this program waits; of a load average compilers remain long after."""
    def read():
        numbers = [int(word) for word in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]
    (before, idle_before), _, (after, idle_after) = read(), time.sleep(seconds), read()
    return 1 - (idle_after - idle_before) / max(after - before, 1)


class Meter:
    """Counts from its start to its end."""

    def __init__(self, pid, cpu):
        self.pid, self.cpu = pid, cpu
        self.start = self.now()

    def now(self):
        return process_seconds(self.pid), softirq_seconds(self.cpu)

    def end(self):
        process, softirq = (after - before for before, after in zip(self.start, self.now()))
        return {"process_seconds": process, "softirq_seconds": softirq}
