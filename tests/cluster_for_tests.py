"""A Ray cluster of several machines on this one: separate raylets, with networks of their own if allowed."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from processes import gone, wait_until

RAY = Path(sys.executable).with_name("ray")
GUARDED = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
OPEN = {"RAY_AUTH_MODE": "disabled"}


@dataclass
class Machine:
    """One machine of a cluster.

    Args:
        network: the name of its network namespace; empty where it shares this machine's network.
        address: of it; empty where Ray shall find it.
        process: of `ray start`, which ends when its node does.
    """

    network: str = ""
    address: str = ""
    process: subprocess.Popen[bytes] | None = None

    def command(self, *words: object) -> list[str]:
        """A command that runs there."""
        inside = ["ip", "netns", "exec", self.network] if self.network else []
        return [*inside, *map(str, words)]

    def kill(self) -> None:
        """SIGKILL to all of Ray that runs there, as when its power fails."""
        if self.process is None or self.process.poll() is not None:
            return
        parent = psutil.Process(self.process.pid)
        below = [parent, *parent.children(recursive=True)]
        for one in below:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait()
        gone(below)


@dataclass
class Machines:
    """A head, on which no trial runs, and workers with one CPU each."""

    folder: Path
    sessions: str
    environment: dict[str, str]
    head: Machine
    ports: tuple[int, int]
    workers: list[Machine] = field(default_factory=list)

    @property
    def address(self) -> str:
        """What a sweep joins."""
        return f"{self.head.address or '127.0.0.1'}:{self.ports[0]}"

    @property
    def url(self) -> str:
        """What a job is submitted to, from the head."""
        return f"http://127.0.0.1:{self.ports[1]}"

    def start(self, machine: Machine, *words: str) -> None:
        """Run Ray on a machine, with a log in this cluster's folder; returns when its node has joined."""
        options = ["--block", "--disable-usage-stats", "--object-store-memory=100000000", *words]
        if machine.address:
            options.append(f"--node-ip-address={machine.address}")
        said = self.folder / f"{len(self.workers)}.log"
        with said.open("wb") as log:
            machine.process = subprocess.Popen(
                machine.command(*self._apart(machine), RAY, "start", *options), env=self._environment(),
                cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, process_group=0,
            )  # fmt: skip
        wait_until(lambda: "Ray runtime started" in said.read_text(), machine.process, seconds=200)

    def add(self) -> Machine:
        """Start one more worker."""
        number = len(self.workers) + 1
        machine = Machine()
        if self.head.network:
            machine = Machine(f"{self.head.network}-{number}", f"10.77.0.{number + 1}")
            _connect(machine, self.head, number)
        self.workers.append(machine)
        self.start(machine, f"--address={self.address}", "--num-cpus=1")
        return machine

    def run(self, *words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the head to its end; a variable that is empty is taken away."""
        return subprocess.run(
            self.head.command(*words), env=self._environment(environment), cwd=cwd,
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip

    def begin(self, *words: object, cwd: Path) -> subprocess.Popen[bytes]:
        """Start a command on the head; what it complains about goes to the file `stderr`."""
        with (cwd / "stderr").open("wb") as errors:
            return subprocess.Popen(
                self.head.command(*words), env=self._environment(), cwd=cwd,
                stdout=subprocess.DEVNULL, stderr=errors, process_group=0,
            )  # fmt: skip

    def _apart(self, machine: Machine) -> list[str]:
        """What gives a worker files of Ray and processes of its own, as other machines have: Ray looks for both."""
        if machine is self.head or not machine.network:
            return []
        return [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "sh",
            "-c",
            f'mount -t tmpfs none {self.sessions} && exec "$@"',
            "sh",
        ]

    def nodes(self) -> dict[str, str]:
        """The address of each node that is alive, by its id."""
        program = "import ray; ray.init('auto', logging_level='ERROR'); print(ray.nodes())"
        said = self.run(sys.executable, "-c", program, cwd=self.folder, RAY_ADDRESS=self.address).stdout
        found = eval(said.strip().splitlines()[-1]) if said.strip() else []
        return {node["NodeID"]: node["NodeManagerAddress"] for node in found if node["Alive"]}

    def _environment(self, changes: dict[str, str] | None = None) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_A")}
        programs = {
            "PATH": f"{RAY.parent}{os.pathsep}{os.environ['PATH']}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": "120",
        }
        merged = inherited | programs | self.environment | (changes or {})
        return {name: value for name, value in merged.items() if value}


@contextmanager
def machines(folder: Path, *, workers: int, environment: dict[str, str] = GUARDED) -> Iterator[Machines]:
    """A cluster that ends with the block.

    Args:
        folder: for logs.
        workers: how many machines there are beside the head.
        environment: of all commands on the machines.
    """
    network = _network()
    head = Machine(network, "10.77.0.1") if network else Machine()
    # Paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as sessions:
        cluster = Machines(folder, sessions, environment, head, (_free_port(), _free_port()))
        try:
            cluster.start(
                head, "--head", f"--port={cluster.ports[0]}", "--num-cpus=0", "--dashboard-host=127.0.0.1",
                f"--dashboard-port={cluster.ports[1]}", f"--temp-dir={sessions}",
            )  # fmt: skip
            for _ in range(workers):
                cluster.add()
            yield cluster
        finally:
            for machine in [*cluster.workers, head]:
                machine.kill()
                if machine.network:
                    _ip("netns", "delete", machine.network)


def _network() -> str:
    """The namespace of a new head, which holds a bridge that the workers are joined to; empty if not allowed."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return ""
    name = f"t{secrets.token_hex(3)}"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError:
        return ""
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "add", "bridge", "type", "bridge")
        _ip("-n", name, "addr", "add", "10.77.0.1/24", "dev", "bridge")
        _ip("-n", name, "link", "set", "bridge", "up")
        # By its default route Ray finds a machine's own address.
        _ip("-n", name, "route", "add", "default", "via", "10.77.0.2")
    except subprocess.CalledProcessError:
        _ip("netns", "delete", name)
        return ""
    return name


def _connect(machine: Machine, head: Machine, number: int) -> None:
    _ip("netns", "add", machine.network)
    _ip("-n", machine.network, "link", "set", "lo", "up")
    _ip(
        "-n", head.network, "link", "add", f"e{number}", "type", "veth", "peer", "name", "eth", "netns", machine.network
    )
    _ip("-n", head.network, "link", "set", f"e{number}", "master", "bridge", "up")
    _ip("-n", machine.network, "addr", "add", f"{machine.address}/24", "dev", "eth")
    _ip("-n", machine.network, "link", "set", "eth", "up")
    _ip("-n", machine.network, "route", "add", "default", "via", "10.77.0.1")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
