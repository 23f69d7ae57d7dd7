"""Namespaces and veth pairs, one pair from the client to each target, and their end."""
import ipaddress
import os
import subprocess

JUMBO = 9000


def run(*words, timeout=30):
    """Runs a command that has to succeed; its output is in the error when it does not."""
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=timeout)
    if result.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {(result.stdout + result.stderr).strip()}")
    return result.stdout


class Wire:
    """A veth pair: `eth1` in a namespace of its own, and an interface of the client."""

    def __init__(self, namespace, client, interface, number, mtu):
        self.namespace, self.client, self.interface, self.mtu = namespace, client, interface, mtu
        net = ipaddress.ip_network(f"10.99.{number}.0/24")
        # Only peers that speak TCP use them.
        self.address, self.client_address = str(net[1]), str(net[2])

    def in_target(self, cpu, *words):
        return inside(self.namespace, cpu, *words)

    def in_client(self, cpu, *words):
        return inside(self.client, cpu, *words)


def inside(namespace, cpu, *words):
    return ["ip", "netns", "exec", namespace, "taskset", "-c", str(cpu), *map(str, words)]


class Network:
    """All namespaces of a run. Their names hold the process number, so that runs do not meet."""

    def __init__(self):
        self.tag = os.getpid()
        self.client = f"lm-client-{self.tag}"
        self.namespaces = []
        self.wires = 0

    def open(self):
        self.add(self.client)

    def add(self, namespace):
        self.namespaces.append(namespace)
        run("ip", "netns", "add", namespace)
        run("ip", "netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        run("ip", "-n", namespace, "link", "set", "lo", "up")

    def wire(self, name, mtu=JUMBO):
        """A wire from the client to a new namespace."""
        self.wires += 1
        namespace = f"lm-{name}-{self.tag}"
        self.add(namespace)
        wire = Wire(namespace, self.client, f"c{self.wires}", self.wires, mtu)
        run("ip", "link", "add", "eth1", "netns", namespace, "mtu", mtu, "type", "veth",
            "peer", "name", wire.interface, "netns", self.client, "mtu", mtu)
        for where, interface, address in ((namespace, "eth1", wire.address),
                                          (self.client, wire.interface, wire.client_address)):
            run("ip", "-n", where, "address", "add", f"{address}/24", "dev", interface)
            run("ip", "-n", where, "link", "set", interface, "up")
        return wire

    def close(self):
        for namespace in self.namespaces:
            subprocess.run(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL, timeout=30)
