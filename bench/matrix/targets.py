"""What is measured: the shelf, its peers, and the bare responder, each in a namespace of its own.

Every target runs on one CPU, the client on another. A target that does not start says so in the report;
the others are measured all the same.
"""
import os
import pathlib
import re
import signal
import subprocess
import time

from network import run

TARGET_CPU = 0
MIB = 1 << 20


class Target:
    """A program that serves, started once and kept for the whole run."""

    # LUNs in memory: what was never written costs less to read.
    volatile_luns = ()

    def __init__(self, name, directory):
        self.name, self.directory = name, directory
        self.wire = self.child = None

    def spawn(self, *words):
        log = open(self.directory / f"{self.name}.log", "wb")
        self.child = subprocess.Popen(self.wire.in_target(TARGET_CPU, *words), stdout=log, stderr=log,
                                      stdin=subprocess.DEVNULL, start_new_session=True)
        log.close()

    def log(self):
        return (self.directory / f"{self.name}.log").read_text(errors="replace")

    def wait(self, is_up, seconds=60):
        end = time.monotonic() + seconds
        while not is_up():
            if self.child.poll() is not None:
                raise RuntimeError(f"{self.name} ended: {self.log()[-500:]}")
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} did not start: {self.log()[-500:]}")
            time.sleep(0.05)

    @property
    def pid(self):
        return self.child.pid

    def resume(self):
        """Called before it is measured."""

    def pause(self):
        """Called after it was measured."""

    # How it is asked to end; then it is killed.
    END = signal.SIGTERM

    def stop(self):
        if self.child is None or self.child.poll() is not None:
            return
        for number in (self.END, signal.SIGKILL):
            os.killpg(self.child.pid, number)
            try:
                self.child.wait(timeout=10)
                return
            except subprocess.TimeoutExpired:
                continue


class Shelf(Target):
    """`ledged` with these disks and LUNs: `luns` are pairs of a type and slots."""

    def __init__(self, name, directory, binaries, mode, disks, luns):
        super().__init__(name, directory)
        self.binaries, self.asked_mode, self.disks, self.luns = binaries, mode, disks, luns
        self.mode = None
        self.socket = directory / name / "control.sock"
        self.volatile_luns = [number for number, (level, _) in enumerate(luns) if level != "raw"]

    def start(self):
        home = self.directory / self.name
        home.mkdir()
        text = (f'shelf = 1\nstate_dir = "{home}/state"\ncontrol_socket = "{self.socket}"\n'
                f'cores = [{TARGET_CPU}]\n[[port]]\ninterface = "eth1"\nmode = "{self.asked_mode}"\n')
        text += "".join(f'[[disk]]\nslot = {slot}\npath = "{path}"\n' for slot, path in enumerate(self.disks))
        (home / "ledge.toml").write_text(text)
        self.spawn(self.binaries / "ledged", "--config", home / "ledge.toml")
        self.wait(lambda: "ready" in self.log())
        # Colours of the log stand between its words.
        plain = re.sub(r"\x1b\[[0-9;]*m", "", self.log())
        self.mode = re.search(r"port open.*? mode=(\w+)", plain) or re.search(r"mode=(\w+)", plain)
        self.mode = self.mode.group(1) if self.mode else self.asked_mode
        for number, (level, slots) in enumerate(self.luns):
            # The disks are all zeroes: copies and parity agree.
            clean = ["-c"] if level in ("raid1", "raid5", "raid6", "raid10") else []
            self.console("make", *clean, number, level, *(f"1.{slot}" for slot in slots))
            self.console("online", number)

    def console(self, *words):
        return run(self.binaries / "ledge", "--socket", self.socket, *words)


class Vblade(Target):
    """Debian's vblade, one process for one file."""

    def __init__(self, name, directory, shelf, file, options=()):
        super().__init__(name, directory)
        self.shelf, self.file, self.options = shelf, file, options

    def start(self):
        self.spawn("vblade", *self.options, self.shelf, 0, "eth1", self.file)
        time.sleep(0.3)
        self.wait(lambda: True)


class Responder(Target):
    """The bare responder. It never sleeps, so it is stopped while others are measured.

    With its disk in memory it copies each block out of it or into it, once, as whoever serves from memory must.
    """

    def __init__(self, name, directory, binaries, mode, in_memory=False):
        super().__init__(name, directory)
        self.binaries, self.mode, self.in_memory = binaries, mode, in_memory

    def start(self):
        self.spawn(self.binaries / "corebench", "respond", "--interface", "eth1", "--mode", self.mode,
                   "--mib", 256, *(["--stored"] if self.in_memory else []))
        self.wait(lambda: "ready" in self.log())
        self.pause()

    def resume(self):
        os.killpg(self.child.pid, signal.SIGCONT)

    def pause(self):
        os.killpg(self.child.pid, signal.SIGSTOP)

    def stop(self):
        if self.child is not None and self.child.poll() is None:
            self.resume()
        super().stop()


class Tgt(Target):
    """tgt: iSCSI. LUN 1 is O_DIRECT through its `aio` store, LUN 2 O_DIRECT and O_SYNC through `rdwr`."""

    # It does not end for less while it has a target.
    END = signal.SIGKILL
    NAME = "iqn.2026-11.org.ledge:bench"

    def __init__(self, name, directory, file):
        super().__init__(name, directory)
        self.file = file
        self.control = str(os.getpid() % 30000)

    def start(self):
        self.spawn("tgtd", "-f", "-C", self.control)
        time.sleep(1)
        self.wait(lambda: True)
        self.admin("--mode", "target", "--op", "new", "--tid", 1, "-T", self.NAME)
        for lun, store in ((1, ["--bstype", "aio"]), (2, ["--bstype", "rdwr", "--bsoflags", "direct:sync"])):
            self.admin("--mode", "logicalunit", "--op", "new", "--tid", 1, "--lun", lun, "-b", self.file, *store)
        self.admin("--mode", "target", "--op", "bind", "--tid", 1, "-I", "ALL")

    def admin(self, *words):
        run(*self.wire.in_target(TARGET_CPU, "tgtadm", "-C", self.control, "--lld", "iscsi", *words))

    def url(self, lun):
        return f"iscsi://{self.wire.address}/{self.NAME}/{lun}"


class Nbd(Target):
    """qemu-nbd: of Debian's NBD servers the one that does O_DIRECT; `directsync` makes each write durable."""

    def __init__(self, name, directory, file, cache):
        super().__init__(name, directory)
        self.file, self.cache = file, cache

    def start(self):
        # The same file is served by others in turn: no lock.
        image = f"driver=raw,file.driver=file,file.filename={self.file},file.locking=off"
        self.spawn("qemu-nbd", "-t", "-e", 0, "-p", 10809, "-b", self.wire.address, f"--cache={self.cache}",
                   "--aio=native", "--image-opts", image)
        time.sleep(0.3)
        self.wait(self.listens)

    def listens(self):
        return ":10809" in run("ip", "netns", "exec", self.wire.namespace, "ss", "-ltnH")

    @property
    def url(self):
        return f"nbd://{self.wire.address}:10809/"


def written(path, mib):
    """A file that is written, not sparse: allocation of blocks is not what is measured."""
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(bytes(MIB))
        os.fsync(file.fileno())
    return pathlib.Path(path)
