"""All hostile inputs, each in a bounded child, and a table of what became of them.

    python -m tests.hostile.run [--kind KIND ...] [--every N] [--project FOLDER]

Exit status 1 where one ended in a traceback, took more memory or time than it may, or touched a file outside the home.
The counts and every finding are written to .bench/hostile.json.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from tests.hostile.bounded import VERDICTS, WELL, Judged, judge, new_arena
from tests.hostile.corpus import Hostile, corpus
from tests.hostile.readers import NEEDS_PROJECT, READERS, load_libraries

ROOT = Path(__file__).resolve().parents[2]
# What the workers, which are forked, do by number.
_work: list[tuple[Hostile, Path, Path]] = []


def tried(hostile: Hostile, project: Path, folder: Path) -> Judged:
    """One input in an arena of its own, which is removed afterwards."""
    arena = new_arena(Path(tempfile.mkdtemp(dir=folder)))
    try:
        if hostile.kind in NEEDS_PROJECT:
            shutil.copy(project / "tiny.yaml", arena / "in")
            shutil.copytree(project / "home" / "checkpoints", arena / "home" / "checkpoints")
        return judge(READERS[hostile.kind], hostile.lay(arena), arena)
    finally:
        shutil.rmtree(arena)


def _tried(number: int) -> Judged:
    return tried(*_work[number])


def refreshed(folder: Path) -> Path:
    """The folder of a refreshed TINY, whose model and weights are spoilt in copies."""
    from tests.dagster.tiny_line import new_project

    project = new_project(folder)
    where = ["--profile", str(project.profile_path), "--home", str(project.layout.home)]
    command = [sys.executable, "-m", "geoloc_dagster.cli", "refresh", *where]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return folder


def main() -> int:
    """Try all, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", action="append", choices=READERS, help="only these kinds")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th input of a kind")
    parser.add_argument("--project", type=Path, help="folder of a refreshed TINY (default: one is made)")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench" / "hostile.json")
    options = parser.parse_args()
    kinds = options.kind or list(READERS)
    with tempfile.TemporaryDirectory(prefix="geoloc-hostile-") as temporary:
        folder = Path(temporary)
        needed = not set(kinds).isdisjoint(NEEDS_PROJECT)
        project = options.project or (refreshed(folder / "project") if needed else folder)
        chosen = [hostile for kind in kinds for hostile in corpus([kind], project)[:: options.every]]
        load_libraries(kinds)
        _work.extend((hostile, project, folder) for hostile in chosen)
        rows = []
        # Two workers of one thread each: a fork while another thread holds a lock may hang.
        with multiprocessing.get_context("fork").Pool(2) as pool:
            for hostile, judged in zip(chosen, pool.imap(_tried, range(len(chosen))), strict=True):
                rows.append({"kind": hostile.kind, "name": hostile.name, **vars(judged)})
                if judged.verdict not in WELL:
                    print(f"{hostile.kind}: {hostile.name}: {judged.verdict} ({judged.seconds} s)", flush=True)
                    print("    " + judged.detail[-700:].replace("\n", "\n    "), flush=True)
            # They end by themselves: SIGTERM, by which the pool would end them, may be ignored here (as below nohup).
            pool.close()
            pool.join()
    frame = pd.DataFrame(rows)
    table = pd.crosstab(frame["kind"], frame["verdict"]).reindex(kinds).reindex(columns=list(VERDICTS), fill_value=0)
    table = table.join(frame.groupby("kind")[["seconds", "peak_mib"]].max().add_prefix("most "))
    findings = frame[~frame["verdict"].isin(WELL)]
    print(f"\n{table.to_string()}\n\n{len(frame)} inputs, {len(findings)} findings")
    figures = {"inputs": len(frame), "counts": table.to_dict("index"), "findings": findings.to_dict("records")}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2))
    return int(len(findings) > 0)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
