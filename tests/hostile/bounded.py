"""One input in one child: 2 GiB of memory, 20 s, and a canary that tells whether anything outside the home was touched.

The parent has loaded the libraries, so a child is forked in a few milliseconds and loads nothing.
"""

import contextlib
import hashlib
import json
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from geoloc_core.errors import GeolocError

MEMORY, SECONDS = 2 << 30, 20.0
ACCEPTED, REFUSED = "accepted", "refused in one sentence"
WELL = (ACCEPTED, REFUSED)
VERDICTS = (*WELL, "not in one sentence", "traceback", "over memory", "over time", "touched a file outside")


@dataclass(frozen=True)
class Judged:
    """What became of an input; `detail` is the sentence, or the end of the traceback."""

    verdict: str
    detail: str
    seconds: float
    peak_mib: int


def new_arena(folder: Path) -> Path:
    """An arena with its canary."""
    for name in ("in", "home", "cwd", "tmp", "canary/deep"):
        (folder / name).mkdir(parents=True)
    (folder / "canary" / "thesis.txt").write_text("years of work")
    (folder / "canary" / "deep" / "photo.jpg").write_bytes(b"somebody's photo")
    return folder


def snapshot(arena: Path) -> dict[str, str]:
    """Everything in the arena that no reader may touch: all but the home and what is temporary."""
    found = {}
    for path in sorted(arena.rglob("*")):
        name = str(path.relative_to(arena))
        if name.split("/")[0] in ("home", "tmp", "log"):
            continue
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            small = path.stat().st_blocks * 512 < 1 << 27
            found[name] = (
                hashlib.sha256(path.read_bytes()).hexdigest() if small and path.stat().st_size < 1 << 27 else "large"
            )
        else:
            found[name] = "folder or pipe"
    return found


def start(read: Callable[[Path, Path], None], path: Path, arena: Path) -> int:
    """Fork a child that reads the input; its process id."""
    child = os.fork()
    if child:
        return child
    verdict, detail = "traceback", ""
    try:
        os.setsid()
        os.chdir(arena / "cwd")
        log = os.open(arena / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ["TMPDIR"] = str(arena / "tmp")
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak is this child's own
        read(path, arena / "home")
        verdict = ACCEPTED
    except GeolocError as error:
        detail = str(error)
        verdict = REFUSED if detail and "\n" not in detail and len(detail) < 2000 else "not in one sentence"
    except MemoryError:
        verdict, detail = "over memory", traceback.format_exc()[-600:]
    except BaseException as error:  # noqa: BLE001 - whatever a reader raises is what is asked here
        detail = traceback.format_exc()[-900:]
        short = any(
            word in f"{type(error).__name__}: {error}"
            for word in ("alloc", "Cannot allocate", "out of memory", "malloc")
        )
        verdict = "over memory" if short else "traceback"
    finally:
        with contextlib.suppress(BaseException):
            peak = next(
                line.split()[1]
                for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmHWM")
            )
            result = json.dumps({"verdict": verdict, "detail": detail, "peak_mib": int(peak) // 1024})
            (arena / "tmp" / "result.json").write_text(result)
        os._exit(0)


def finish(child: int, arena: Path, before: dict[str, str], seconds: float, killed: bool) -> Judged:
    """What a child that has ended says, and what the canary says."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    said = {"verdict": "traceback", "detail": "", "peak_mib": 0}
    with contextlib.suppress(OSError, ValueError):
        said = json.loads((arena / "tmp" / "result.json").read_text())
    if killed:
        said["verdict"] = "over time"
    elif not (arena / "tmp" / "result.json").is_file():
        log = (arena / "log").read_text(errors="replace")[-500:] if (arena / "log").is_file() else ""
        said = {
            "verdict": "over memory" if "alloc" in log else "traceback",
            "detail": f"the process died: {log}",
            "peak_mib": 0,
        }
    after = snapshot(arena)
    if touched := sorted(name for name in {*before, *after} if before.get(name) != after.get(name)):
        said |= {"verdict": "touched a file outside", "detail": f"{touched[:5]}; {said['detail']}"}
    return Judged(said["verdict"], said["detail"], round(seconds, 2), said["peak_mib"])


def judge(read: Callable[[Path, Path], None], path: Path, arena: Path, patience: float = SECONDS) -> Judged:
    """Read one input in a child of its own, and wait for it."""
    before, began = snapshot(arena), time.monotonic()
    child = start(read, path, arena)
    killed, status = False, 0
    while not status:
        status, _ = os.waitpid(child, os.WNOHANG)
        if not status and time.monotonic() - began > patience:
            killed = True
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.004)
    return finish(child, arena, before, time.monotonic() - began, killed)
