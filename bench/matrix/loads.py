"""The load tools. Each gives a measurement: commands per second, and latencies in microseconds if it tells."""
import json
import re
import subprocess

from network import run

WARMUP = 0.3


def output(command, seconds, codes=(0,)):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                            stdin=subprocess.DEVNULL, timeout=seconds * 3 + 20)
    # What ends with a result and a code that says that it is a bad one has told why on the other channel.
    if result.returncode not in codes or not result.stdout.strip():
        words = (result.stdout + result.stderr).strip()
        raise RuntimeError(f"{command[7]}: {words[-400:]}")
    return result.stdout


def latencies(latency):
    return {key: latency[key] for key in ("p50", "p90", "p99", "p999", "max")}


def aoeload(wire, cpu, tool, seconds, options):
    """`tool` is the program with its backend. Lost commands are a result here, not an error.

    Without probes in the kernel: they would cost something for each frame that the generator receives.
    """
    program, backend = tool
    command = wire.in_client(cpu, program, "--interface", wire.interface, "--backend", backend,
                             "--warmup", WARMUP, "--seconds", seconds, "--json", "--probes", "off", *options)
    return of_aoeload(json.loads(output(command, seconds, codes=(0, 1))))


def of_aoeload(report):
    """A measurement of what aoeload tells."""
    if "iops" not in report:
        raise RuntimeError("aoeload told nothing")
    kinds = [report[kind] for kind in ("read", "write") if report.get(kind)]
    # Reads and writes apart: of a mix the slower counts.
    latency = {key: max(kind["latency_us"][key] for kind in kinds)
               for key in ("p50", "p90", "p99", "p999", "max")} if kinds else None
    counts = {key: report[key] for key in ("lost", "errors", "retransmissions", "duplicates", "unexpected",
                                           "overdue")}
    if report["errors"] or not kinds:
        raise RuntimeError(f"aoeload in {report['seconds']:.1f} s: {counts}")
    return {"iops": report["iops"], "latency_us": latency, "counts": counts, "generator": report["mode"],
            "range_bytes": report["range_bytes"], "series": report["series"], "losses": report["losses"],
            "load_seconds": report["seconds"] + WARMUP}


def fio(command_in, engine, seconds, operation, size, depth, options):
    """`command_in` wraps a command into a namespace and onto a CPU."""
    command = command_in("fio", "--thread", "--name=load", f"--ioengine={engine}", f"--rw=rand{operation}",
                         f"--bs={size}", f"--iodepth={depth}", "--time_based", f"--ramp_time={milliseconds(WARMUP)}",
                         f"--runtime={milliseconds(seconds)}", "--randrepeat=0", "--norandommap",
                         "--output-format=json", *options)
    return of_fio(output(command, seconds), operation)


class Spinner:
    """A program that keeps a CPU busy for as long as its block lasts."""

    def __init__(self, binaries, cpu):
        self.words = [str(binaries / "corebench"), "stalls", "--cpu", str(cpu), "--seconds", "3600"]

    def __enter__(self):
        self.program = subprocess.Popen(self.words, stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        ended = self.program.poll()
        self.program.kill()
        self.program.wait()
        if ended is not None:
            raise RuntimeError(f"the program that was to spin ended: {ended}")


def milliseconds(seconds):
    """As fio takes times: of seconds it takes whole ones only, and 0 is for ever."""
    return f"{round(seconds * 1000)}ms"


def of_fio(text, operation):
    """fio may print a remark before its JSON."""
    job = json.loads(text[text.index("{"):])["jobs"][0]
    part = job[operation]
    if job.get("error") or not part["total_ios"]:
        raise RuntimeError(f"fio: error {job.get('error')}")
    percentiles = part["clat_ns"]["percentile"]
    return {"iops": part["iops"], "load_seconds": part["runtime"] / 1e3 + WARMUP,
            "own_cpu": (job["usr_cpu"] + job["sys_cpu"]) / 100,
            "latency_us": {"p50": percentiles["50.000000"] / 1e3, "p90": percentiles["90.000000"] / 1e3,
                           "p99": percentiles["99.000000"] / 1e3, "p999": percentiles["99.900000"] / 1e3,
                           "max": part["clat_ns"]["max"] / 1e3}}


def iscsi_perf(wire, cpu, url, seconds, size, depth):
    """libiscsi's reader. It counts whole seconds."""
    whole = max(2, round(seconds))
    command = wire.in_client(cpu, "iscsi-perf", "-r", "-m", depth, "-b", size // 512, "-t", whole, url)
    return of_iscsi_perf(output(command, whole), whole)


def of_iscsi_perf(text, seconds):
    rates = re.findall(r"iops average (\d+)", text)
    if not rates:
        raise RuntimeError(f"iscsi-perf: {text[-200:]}")
    rate = float(rates[-1])
    return {"iops": rate, "load_seconds": seconds, "latency_us": None}


def qemu_img_bench(wire, cpu, url, seconds, size, depth, blocks):
    """Writes over iSCSI, for which libiscsi has no tool: as many as take about as long as was asked for.

    A stride that has no divisor in common with the size of the disk scatters them.
    """
    step = size * (blocks * 618 // 1000 | 1)

    def bench(count):
        command = wire.in_client(cpu, "qemu-img", "bench", "-f", "raw", "-t", "none", "-w", "-d", depth,
                                 "-s", size, "-S", step, "-c", count, url)
        return count / of_qemu_img(output(command, seconds))

    count = int(max(200, bench(2000) * seconds))
    rate = bench(count)
    return {"iops": rate, "load_seconds": (count + 2000) / rate, "latency_us": None}


def of_qemu_img(text):
    found = re.search(r"Run completed in ([0-9.]+) seconds", text)
    if not found:
        raise RuntimeError(f"qemu-img: {text[-200:]}")
    return float(found.group(1))


def version(*words):
    """The first line that a program tells about itself."""
    try:
        return run(*words).strip().splitlines()[0]
    except (RuntimeError, FileNotFoundError, IndexError, subprocess.TimeoutExpired):
        return "not there"
