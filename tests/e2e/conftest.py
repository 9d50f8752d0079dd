"""Runs of the real command line, killed and resumed: see zygote.py for why they are forked."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def environment(folder: Path) -> dict[str, str]:
    """One thread, its own bytecode cache, and nothing read from this machine's data."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "METABENCH_CACHE": str(folder / "cache"),
    }


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    """As many of torch after a module as before: the command line sets their number."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


class Fork:
    """A running `python -m metabench ARGV`."""

    def __init__(self, warm: "Warm", pid: int, output: Path) -> None:
        self.warm, self.pid, self.path = warm, pid, output

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit status; minus the signal's number where one ended it."""
        return self.warm.ask({"wait": self.pid})["status"]

    @property
    def alive(self) -> bool:
        state = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state != "Z"

    @property
    def output(self) -> str:
        return self.path.read_text()


class Warm:
    """The client of one zygote."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        command = [sys.executable, str(Path(__file__).with_name("zygote.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(folder), cwd=folder
        )
        assert json.loads(self.process.stdout.readline()) == {"ready": True}

    def ask(self, request: dict) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self,
        *argv: object,
        env: Mapping[str, str] | None = None,
        largest: int | None = None,
        call: tuple[str, str] | None = None,
    ) -> Fork:
        """Start `python -m metabench ARGV`, and return at once.

        largest: bytes of a file that it can write. call: (file, function) to run on the arguments instead.
        """
        self.count += 1
        output = self.folder / f"output{self.count}"
        output.touch()
        words = [str(a) for a in argv]
        request = {"argv": words, "env": dict(env or {}), "output": str(output), "largest": largest, "call": call}
        return Fork(self, self.ask(request)["pid"], output)

    def start_ranks(self, world: int, *argv: object, call: tuple[str, str] | None = None, **env: str) -> list[Fork]:
        """Start the processes that torchrun would, with more in their environment."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} | env
        ranks = [shared | {"RANK": str(r), "LOCAL_RANK": str(r)} for r in range(world)]
        return [self.start(*argv, env=env, call=call) for env in ranks]

    def environment(self) -> dict[str, str]:
        """For a process that is not forked."""
        return environment(self.folder)

    def until(self, true: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait for something to become true."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"waited {seconds} s in vain"
            time.sleep(0.001)

    def run(self, *argv: object, largest: int | None = None) -> tuple[int, str]:
        """Exit status and output."""
        fork = self.start(*argv, largest=largest)
        return fork.wait(), fork.output


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Forks of a process that has imported everything."""
    if not Path("/proc/self/stat").exists() or not hasattr(os, "fork"):
        pytest.skip("needs fork and /proc, that is Linux")
    warm = Warm(tmp_path_factory.mktemp("warm"))
    yield warm
    warm.process.stdin.close()
    warm.process.wait(30)
    warm.process.stdout.close()
