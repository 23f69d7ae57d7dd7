"""The matrix: which targets there are, and what each of them is asked in every round."""
import dataclasses
import typing

import cpu
import loads
from targets import TARGET_CPU, Nbd, Responder, Shelf, Tgt, Vblade, written

MODES = ("generic", "native", "packet")
DEPTHS = (1, 8, 32, 64)
LUN_COUNTS = (1, 50, 200)
RAM_MIB = 256
FILE_MIB = 1024
# Four members of so much have a LUN of as much as vblade's file, and room for metadata.
MEMBER_MIB = 80
# A program spins on the CPU of the generators, as the generator itself does while it loads a target: what the
# kernel would do there, such as to flush and to take interrupts of the disk, then has to wait.
BESIDE_SPINNER = ", the other CPU busy"
# What fio does for the same durability: each write by itself, or one flush for as many as are under way.
FIO_DURABLE = {"fio dsync": ["--sync=dsync"], "fio fdatasync": ["--fdatasync=64"]}


@dataclasses.dataclass(frozen=True)
class Case:
    """What one target is asked, once in every round. Cases of the same key are done in turn."""
    key: str
    subject: str
    target: str
    load: typing.Callable

    @property
    def name(self):
        return f"{self.key}: {self.subject}"


def key(group, operation, size, depth):
    return f"{group}, {size // 1024} KiB {operation}, depth {depth}"


class Matrix:
    """All targets by name, and all cases."""

    def __init__(self, network, directory, memory, options):
        self.network, self.directory, self.memory, self.options = network, directory, memory, options
        self.targets, self.failures, self.cases, self.started = {}, {}, [], []
        self.file, self.tmpfs = directory / "disk", memory / "disk"

    def add(self, kind, name, *arguments, mtu=9000):
        """A target that is not started yet."""
        self.targets[name] = kind(name, self.directory, *arguments)
        self.targets[name].mtu = mtu
        return self.targets[name]

    def start(self, target):
        """Starts a target on a wire of its own, or notes why it did not start."""
        print(f"start {target.name}", flush=True)
        self.started.append(target)
        try:
            target.wire = self.network.wire(f"{len(self.started)}", target.mtu)
            target.start()
            for number in target.volatile_luns:
                self.fill(target, number)
        except Exception as error:
            self.failures[target.name] = str(error)
            print(f"  {target.name} failed: {error}", flush=True)
            target.stop()

    def fill(self, target, lun):
        """Writes all of a LUN in memory: pages that were never touched are all the same one."""
        size = 1024 if target.mtu < 9000 else 8192
        write = lambda seconds: self.aoe(target, f"1.{lun}", "write", size, 64, seconds, "--sequential")
        first = write(0.3)
        write(min(1.5 * first["range_bytes"] / size / first["iops"], 30))

    def aoe(self, target, address, operation, size, depth, seconds, *more):
        words = ("--target", address, "--op", operation, "--size", size, "--depth", depth, *more)
        return loads.aoeload(target.wire, self.options.client_cpu, self.options.generator, seconds, words)

    def aoe_case(self, group, subject, target, address, operation, size, depth):
        def load():
            measured = self.aoe(target, address, operation, size, depth, self.options.seconds, "--random")
            # Of use in the rows of zero loss only.
            return {name: what for name, what in measured.items() if name not in ("series", "losses")}
        self.cases.append(Case(key(group, operation, size, depth), subject, target.name, load))

    # Groups

    def ram(self):
        """One raid0 LUN over four disks in memory beside vblade's file on tmpfs and the bare responder."""
        disks = [f"ram:{MEMBER_MIB}M"] * 4 + [f"null:{RAM_MIB}M"]
        luns = [("raid0", range(4)), ("raw", [4])]
        shelves = {mode: self.add(Shelf, f"ledged-{mode}", self.options.bin, mode, disks, luns) for mode in MODES}
        vblade = self.add(Vblade, "vblade-tmpfs", 2, self.tmpfs)
        bare = {mode: self.add(Responder, f"bare-{mode}", self.options.bin, mode) for mode in MODES}
        copying = {mode: self.add(Responder, f"copying-{mode}", self.options.bin, mode, True) for mode in MODES}
        for operation in ("read", "write"):
            for depth in DEPTHS:
                def add(subject, target, address):
                    self.aoe_case("memory", subject, target, address, operation, 8192, depth)
                for mode in MODES:
                    # The curve over depths is drawn for the mode that is chosen.
                    if depth in (1, 32) or mode == self.options.mode:
                        add(f"ledged {mode}", shelves[mode], "1.0")
                add("vblade", vblade, "2.0")
                if depth == 32:
                    for mode in MODES:
                        add(f"null LUN {mode}", shelves[mode], "1.1")
                        add(f"bare responder {mode}", bare[mode], "9.0")
                        add(f"copying responder {mode}", copying[mode], "9.0")

    def small_frames(self):
        """1 KiB at MTU 1500."""
        disks, luns = [f"ram:{MEMBER_MIB}M"] * 4, [("raid0", range(4))]
        for mode in MODES:
            target = self.add(Shelf, f"ledged-1500-{mode}", self.options.bin, mode, disks, luns, mtu=1500)
            self.aoe_case("MTU 1500", f"ledged {mode}", target, "1.0", "read", 1024, 32)
        vblade = self.add(Vblade, "vblade-1500", 2, self.tmpfs, mtu=1500)
        self.aoe_case("MTU 1500", "vblade", vblade, "2.0", "read", 1024, 32)

    def many_luns(self):
        """The same LUN beside none, some and many others."""
        for count in LUN_COUNTS:
            disks = [f"ram:{MEMBER_MIB}M"] * 4 + ["ram:1M"] * (count - 1)
            luns = [("raid0", range(4))] + [("raw", [4 + index]) for index in range(count - 1)]
            target = self.add(Shelf, f"ledged-luns-{count}", self.options.bin, self.options.mode, disks, luns)
            self.aoe_case("LUNs", f"{count} LUN{'s' if count > 1 else ''}", target, "1.0", "read", 8192, 8)

    def files(self):
        """One O_DIRECT file, behind each target in turn."""
        shelf = self.add(Shelf, "ledged-file", self.options.bin, self.options.mode, [self.file], [("raw", [0])])
        vblade = self.add(Vblade, "vblade-direct", 2, self.file, ("-d",))
        durable = self.add(Vblade, "vblade-durable", 2, self.file, ("-d", "-s"))
        tgt = self.add(Tgt, "tgt", self.file)
        nbd = self.add(Nbd, "nbd", self.file, "none")
        nbd_durable = self.add(Nbd, "nbd-durable", self.file, "directsync")
        for size in (8192, 4096):
            group = "O_DIRECT file"
            self.aoe_case(group, "ledged", shelf, "1.0", "read", size, 64)
            self.aoe_case(group, "vblade -d", vblade, "2.0", "read", size, 64)
            self.fio_case(group, "fio io_uring", "read", size, [])
            self.iscsi_case(group, tgt, "read", size)
            self.nbd_case(group, nbd, "read", size)
            group = "O_DIRECT file, durable"
            self.aoe_case(group, "ledged", shelf, "1.0", "write", size, 64)
            self.aoe_case(group, "vblade -d -s", durable, "2.0", "write", size, 64)
            for subject, more in FIO_DURABLE.items():
                self.fio_case(group, subject, "write", size, more)
                if size == 8192:
                    self.fio_case(group, f"{subject}{BESIDE_SPINNER}", "write", size, more, is_beside_spinner=True)
            self.iscsi_case(group, tgt, "write", size)
            self.nbd_case(group, nbd_durable, "write", size)

    def fio_case(self, group, subject, operation, size, more, is_beside_spinner=False):
        """The disk without a network, from the CPU that targets have."""
        def load():
            if not is_beside_spinner:
                return measured()
            with loads.Spinner(self.options.bin, self.options.client_cpu):
                return measured()

        def measured():
            here = lambda *words: ["ip", "netns", "exec", self.network.client, "taskset", "-c", str(TARGET_CPU), *words]
            options = [f"--filename={self.file}", f"--size={FILE_MIB}m", "--direct=1", "--registerfiles",
                       "--fixedbufs", *more]
            return loads.fio(here, "io_uring", self.options.seconds, operation, size, 64, options)
        self.cases.append(Case(key(group, operation, size, 64), subject, "", load))

    def nbd_case(self, group, target, operation, size):
        def load():
            here = lambda *words: target.wire.in_client(self.options.client_cpu, *words)
            options = [f"--uri={target.url}", f"--size={FILE_MIB}m"]
            return loads.fio(here, "nbd", self.options.seconds, operation, size, 64, options)
        self.cases.append(Case(key(group, operation, size, 64), "NBD (qemu-nbd)", target.name, load))

    def iscsi_case(self, group, target, operation, size):
        def load():
            cpu_number, seconds = self.options.client_cpu, self.options.seconds
            if operation == "read":
                return loads.iscsi_perf(target.wire, cpu_number, target.url(1), seconds, size, 64)
            blocks = (FILE_MIB << 20) // size
            return loads.qemu_img_bench(target.wire, cpu_number, target.url(2), seconds, size, 64, blocks)
        self.cases.append(Case(key(group, operation, size, 64), "iSCSI (tgt)", target.name, load))

    # Measuring

    def build(self):
        """All cases that are wanted, and no target started."""
        for group in (self.ram, self.small_frames, self.many_luns, self.files):
            group()
        self.cases = [case for case in self.cases if self.options.wants(case.name)]

    def start_all(self):
        """Whatever the cases need."""
        names = {case.target for case in self.cases}
        if any(case.key.startswith("O_DIRECT") for case in self.cases):
            written(self.file, FILE_MIB)
        if names & {"vblade-tmpfs", "vblade-1500"}:
            written(self.tmpfs, RAM_MIB)
        for name, target in self.targets.items():
            if name in names:
                self.start(target)

    def measure(self, case):
        """One measurement, with the CPU that it took, or why there is none."""
        if case.target in self.failures:
            return {"error": f"did not start: {self.failures[case.target]}"}
        target = self.targets.get(case.target)
        try:
            if target is None:
                result = case.load()
                return {**result, "cpu_us_per_io": result["own_cpu"] / result["iops"] * 1e6}
            target.resume()
            try:
                meter = cpu.Meter(target.pid, TARGET_CPU)
                result = case.load()
                used = meter.end()
            finally:
                target.pause()
            return with_cpu(result, used)
        except Exception as error:
            # Its log goes with the directory.
            for line in target.log().splitlines()[-5:] if target else []:
                print(f"  {target.name}: {line}", flush=True)
            return {"error": str(error)}

    def stop(self):
        """Ends all targets that were started."""
        for target in self.started:
            target.stop()


def with_cpu(result, used):
    """The measurement with the CPU of each command."""
    commands = result["iops"] * result["load_seconds"]
    return {**result, **used,
            "cpu_us_per_io": (used["process_seconds"] + used["softirq_seconds"]) / commands * 1e6}
