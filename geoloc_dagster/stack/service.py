"""One process of the stack: started with its output in a log, waited for until it answers, stopped by its pid."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from geoloc_core.errors import GeolocError

HOST = "127.0.0.1"
LONGEST_WAIT_S = 120.0
GRACE_S = 20.0


class StackError(GeolocError):
    """A part of the stack did not start, or ended by itself."""


def unused_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@dataclass
class Service:
    """A command, and how one knows that it is up (`ready`)."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[], bool]
    stop_signal: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the process, in a session of its own, and wait until it is ready."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                list(self.command),
                env=dict(self.environment),
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: self._up(), f"{self.name} did not answer within {LONGEST_WAIT_S:.0f} s", self.last_words)

    def _up(self) -> bool:
        self.check()
        return self.ready()

    def check(self) -> None:
        """An error where the process has ended."""
        if self.process is not None and self.process.poll() is not None:
            raise StackError(f"{self.name} ended with status {self.process.returncode}; {self.last_words()}")

    def last_words(self) -> str:
        """The end of the log, for an error message."""
        tail = self.log.read_text(errors="replace").splitlines()[-8:] if self.log.is_file() else []
        return f"its log {self.log} ends with: " + " | ".join(tail)

    def stop(self) -> None:
        """Ask the process to end; end it, and whatever it started, where it does not."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=GRACE_S)
        # The session outlives its leader where a worker hangs.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def wait_until(done: Callable[[], bool], otherwise: str, more: Callable[[], str] = lambda: "") -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + LONGEST_WAIT_S
    while not done():
        if time.monotonic() > deadline:
            raise StackError(f"{otherwise}; {more()}")
        time.sleep(0.3)


def answers(port: int, path: str | None = None) -> bool:
    """Whether somebody listens on a port of this machine, and answers a GET of `path` well where one is given."""
    try:
        if path is None:
            with socket.create_connection((HOST, port), timeout=2):
                return True
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
