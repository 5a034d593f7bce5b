"""Slurm itself on this machine, for tests: Debian's packages slurm-wlm and munge, started as root in a directory.

Two partitions of one processor each, `first` and `second`, each a node with a daemon of its own; `urgent` takes the
first from whoever has it, and `wide` is a node that claims more processors than there are, for jobs that sleep.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "srun", "scontrol")
NODES = ("one", "two", "wide")
_START_SECONDS, _STOP_SECONDS = 60.0, 20.0

_CONFIGURATION = """
ClusterName=pyprof
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool.%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=2
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=2000 State=UNKNOWN
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=2000 State=UNKNOWN
NodeName=wide NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[3]} CPUs=8 RealMemory=2000 State=UNKNOWN
PartitionName=first Nodes=one Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=second Nodes=two MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=wide Nodes=wide MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=one MaxTime=INFINITE State=UP PriorityTier=2
"""


def missing() -> str | None:
    """Why Slurm cannot be started here; None where it can."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    absent = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if absent:
        return f"Slurm is not installed ({', '.join(absent)}; on Debian: apt-get install slurm-wlm munge)"
    return None if os.geteuid() == 0 else "Slurm is started by root alone"


class RealSlurm:
    """The daemons of a cluster, which end with `stop`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._daemons: list[subprocess.Popen[bytes]] = []
        path = directory / "slurm.conf"
        host = socket.gethostname().partition(".")[0]
        path.write_text(_CONFIGURATION.format(host=host, directory=directory, ports=_free_ports(4)))
        (directory / "state").mkdir()
        key = directory / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        self.variables = {
            "SLURM_CONF": str(path),
            "PATH": os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")),
        }

    def start(self) -> None:
        """Start the daemons and wait until both nodes are idle; raises RuntimeError where they are not in time."""
        at = self.directory
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
        options = [f"--{name}={at}/{file}" for name, file in {**files, "seed-file": "munge.seed"}.items()]
        self._run("munged", "--foreground", "--force", *options)
        self._wait(lambda: (at / "munge.socket").exists(), "munged")
        self._run("slurmctld", "-D", "-i", "-c")
        for node in NODES:
            self._run("slurmd", "-D", "-N", node)
        self._wait(lambda: set(self.told("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}, "slurmd")

    def told(self, *command: str) -> str:
        """What a command of Slurm prints; nothing where it fails."""
        done = subprocess.run(command, env={**os.environ, **self.variables}, capture_output=True, text=True, timeout=30)
        return done.stdout if done.returncode == 0 else ""

    def stop(self) -> None:
        """Cancel what runs and end the daemons, when no step of a job needs them any more."""
        self.told("scancel", "--user=root")
        deadline = time.monotonic() + _STOP_SECONDS
        while self.told("squeue", "-h") and time.monotonic() < deadline:
            time.sleep(0.1)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _run(self, *command: str) -> None:
        with (self.directory / "daemons.log").open("ab") as log:
            self._daemons.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **self.variables},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _wait(self, is_up, name: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not is_up():
            if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in self._daemons):
                logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.directory.glob("*.log"))
                raise RuntimeError(f"{name} did not start:\n{logs}")
            time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
