"""`geoloc ...`: plan and refresh the artifacts, run one, answer for photos, evaluate a folder, look at the report.

Standard output is the result, standard error the progress. Exit status: 0 all well; 1 something was tried and failed, or
some photos were refused while others were answered; 2 the input, the profile or a file is wrong, in one sentence.
"""

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geoloc_core import __version__
from geoloc_core.errors import GeolocError, InputError
from geoloc_core.line.layout import Layout
from geoloc_core.line.project import Project, open_project, picture_folder_of
from geoloc_core.photos.file_names import visible
from geoloc_core.storage import room

if TYPE_CHECKING:
    from geoloc_core.answers.predict import Predictor
    from geoloc_core.line.artifacts import Target
    from geoloc_core.line.staleness import State
    from geoloc_dagster.refresh import Outcome

FAILED, WRONG, STOPPED = 1, 2, 130
NOTHING = "Nothing is stale; no asset was executed."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the console script's entry."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        project = _project(options)
        with room(project.home), legible_records(project.layout):
            return command(options)
    except GeolocError as error:
        print(f"geoloc: {visible(str(error))}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        kept = (
            "nothing was written" if command is _evaluate else "what was finished is kept, and `geoloc refresh` goes on"
        )
        print(f"geoloc: stopped; {kept}", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        # Whoever reads us has gone (`geoloc plan | head`); that is no fault.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


@contextlib.contextmanager
def legible_records(layout: Layout) -> Iterator[None]:
    """Records of Dagster's that are damaged are said in one sentence."""
    try:
        yield
    except GeolocError:
        raise
    except Exception as error:
        said = str(getattr(error, "orig", error))  # SQLAlchemy keeps what SQLite said
        if not any(words in said for words in ("file is not a database", "disk image is malformed")):
            raise
        mend = "delete that folder and run `geoloc refresh`; the artifacts stay, and are registered anew"
        raise InputError(f"Dagster's records in {layout.dagster_home} cannot be read ({said}): {mend}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="geoloc",
        description="In which country, and in which first-level sub-division, was a photo taken, and how sure is that?",
    )
    parser.add_argument("--version", action="version", version=f"geoloc {__version__}")
    shared = argparse.ArgumentParser(add_help=False)
    named = "name in profiles/ or path of a YAML file (default: $GEOLOC_PROFILE or sample)"
    shared.add_argument("--profile", help=named)
    shared.add_argument("--home", help="data folder (default: $GEOLOC_HOME or .geoloc/PROFILE)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    def add(name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, parents=[shared])
        command.set_defaults(command=function)
        return command

    plan = add("plan", _plan, "say what is stale and why; changes nothing")
    plan.add_argument("--json", action="store_true", help="as JSON")
    renew = add("refresh", _refresh, "materialize what is stale, and nothing else")
    renew.add_argument(
        "--prune", action="store_true", help="remove what the profile no longer names, after saying what"
    )
    verify = "read every byte: finds damage that left size and time as they were"
    for command in (plan, renew):
        command.add_argument("--verify", action="store_true", help=verify)

    making = "make one asset (or one partition of it), stale or not, and before it what is missing upstream"
    run = add("run", _run, making)
    run.add_argument("asset", help="for example heads, or embeddings")
    partition = "for example clip.linear.country.thesis; all of them if left out"
    run.add_argument("--partition", action="append", help=partition)
    run.add_argument("--only", action="store_true", help="leave alone what is missing upstream")

    answers = "answer for photos: country, sub-division, probability, point, five next best, sure or not"
    predict = add("predict", _predict, answers)
    predict.add_argument("files", nargs="+", type=Path, metavar="FILE")
    shape = predict.add_mutually_exclusive_group()
    for name, text in (
        ("json", "as JSON, one list"),
        ("jsonl", "as JSON, one line for each photo"),
        ("csv", "as CSV, one line for each photo; names that a spreadsheet would compute begin with '"),
    ):
        shape.add_argument(f"--{name}", action="store_const", const=name, dest="shape", default="table", help=text)
    predict.add_argument("--model", type=Path, help="folder of a packed model (default: the champion)")

    evaluate = add("evaluate", _evaluate, "score the champion on a folder of photos with EXIF GPS, and map its errors")
    evaluate.add_argument("folder", type=Path, metavar="FOLDER")
    evaluate.add_argument("--out", type=Path, help="where to write (default: evaluations/NAME in the data folder)")
    evaluate.add_argument("--model", type=Path, help="folder of a packed model (default: the champion)")

    add("report", _report, "print the tables and say where the HTML report and the maps lie")
    results = add("results", _results, "print the tables for a program")
    results.add_argument("--json", action="store_true", required=True, help="as JSON: every table as a list of rows")
    add("demo", _demo, "refresh, print the tables, and answer for one photo")
    listed = add(
        "backbones", _backbones, "list the backbones: dimension, size, licence, and whether their weights are here"
    )
    listed.add_argument(
        "--json", action="store_true", help="as JSON, with where the weights come from, and the revision"
    )
    schema = add("profile", _profile, "print what a profile may say, for editors and programs")
    schema.add_argument("what", choices=["schema"], help="a JSON Schema")
    ui = add("ui", _ui, "open the Dagster UI on 127.0.0.1 with this project's history")
    ui.add_argument("--port", type=int, default=3000, help="the first port to try (default: 3000)")
    return parser


def _project(options: argparse.Namespace) -> Project:
    return open_project(options.profile, options.home)


def _plan(options: argparse.Namespace) -> int:
    from geoloc_dagster.refresh import open_instance, project_plan

    project = _project(options)
    instance = open_instance(project.layout) if project.layout.dagster_home.is_dir() else None
    plan = project_plan(project, instance, options.verify)
    missing = project.missing_inputs()
    if options.json:
        print(json.dumps({**plan.as_json(), "missing_inputs": missing}, indent=2))
        return 0
    for sentence in plan.strays:
        print(f"{sentence}; it will be set aside")
    if not plan and not plan.orphans:
        print("Nothing is stale.")
        return 0
    for step in plan.steps:
        print(f"{step.target}\n    " + "\n    ".join(str(reason) for reason in step.reasons[:8]))
        if len(step.reasons) > 8:
            print(f"    and {len(step.reasons) - 8} more")
    for target in plan.unregistered:
        print(f"{target}\n    fresh on disk, not known to this Dagster instance: will be registered")
    for target in plan.orphans:
        print(f"{target}\n    no longer part of the profile: stays until `geoloc refresh --prune` removes it")
    counts = f"{len(plan.unregistered)} to register, {len(plan.orphans)} orphans"
    stale = f"{len(plan.steps)} stale, {len(plan.following)} downstream may follow"
    print(f"\n{stale}, {counts}. `geoloc refresh` does it.")
    for sentence in missing.values():
        print(f"Missing: {sentence}")
    _notice(project)
    return 0


def _refresh(options: argparse.Namespace) -> int:
    from geoloc_core.line.landing import take_in

    project = _project(options)
    intake = take_in(project.profile, project.layout)
    if intake.sentence:
        print(f"Landing folder: {intake.sentence}", file=sys.stderr)
    return refresh_and_report(_project(options), options.verify, options.prune)


def refresh_and_report(project: Project, verify: bool = False, prune: bool = False) -> int:
    """Refresh with a line on standard error for each target; 0 when all is fresh afterwards."""
    from geoloc_core.line.staleness import State
    from geoloc_core.line.unusable import losses_of_all
    from geoloc_dagster.aftermath import put_right
    from geoloc_dagster.checks.standing import report_current
    from geoloc_dagster.refresh import open_instance, project_plan, refresh, refresh_lock

    instance = open_instance(project.layout)
    # Reading every byte is done once, on the way; how much there is to do shows only then.
    plan = None if verify else project_plan(project, instance)
    if plan is not None and not plan and not (prune and plan.orphans):
        with refresh_lock(project.layout):
            for sentence in put_right(project, instance):
                print(f"mended: {sentence}", file=sys.stderr)
        report_current(instance, project, plan)
        print(NOTHING)
        _say_orphans(State(project))
        return 0
    from geoloc_dagster.definitions import defs

    for sentence in project.missing_inputs().values():
        print(f"Missing: {sentence}", file=sys.stderr)
    lines = ProgressLines(len(plan.steps) + len(plan.following) if plan else 0)
    outcome, state = refresh(project, instance, defs, lines, verify, prune), State(project)
    counts = f"{len(outcome.made)} made, {len(outcome.registered)} registered, {len(outcome.removed)} removed"
    failed = f"{len(outcome.failed)} failed, {len(outcome.blocked)} not tried because of that"
    print(f"{counts}, {failed}." if outcome else NOTHING)
    for sentence in losses_of_all(project.layout, state.receipts) if outcome else ():
        print(sentence)
    _say_orphans(state)
    return _status(outcome)


def _say_orphans(state: "State") -> None:
    if orphans := state.orphans():
        print(f"{state.weight(orphans)} stay; --prune removes them.")


class ProgressLines:
    """A refresh as lines on standard error. `expected` is the most that may come; 0 when nobody knows."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.done = 0

    def __call__(self, event: str, target: "Target | None", detail: str) -> None:
        """Hear of one event of `refresh`."""
        if event in {"done", "empty", "failed", "failed again"}:
            self.done += 1
        if event == "failed again":
            return
        place = f"[{self.done:>3}/{max(self.expected, self.done)}]" if self.expected else f"[{self.done:>3}]"
        mark = {"done": "made", "empty": "EMPTY", "failed": "FAILED"}.get(event, event)
        line = f"{event}: {detail}" if target is None else f"{place} {mark:10} {target}  {detail}"
        print(line, file=sys.stderr, flush=True)


def _status(outcome: "Outcome") -> int:
    """Say each failure once; 2 where everything that failed is for the user to mend, 1 where something is a fault of ours."""
    for message in dict.fromkeys(outcome.failed.values()):
        failed = [target for target, said in outcome.failed.items() if said == message]
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        print(f"geoloc: {failed[0]}{more} failed: {message}", file=sys.stderr)
    return 0 if outcome.well else FAILED if outcome.faults else WRONG


def _run(options: argparse.Namespace) -> int:
    from geoloc_core.line.unusable import losses_of_all
    from geoloc_dagster.definitions import defs
    from geoloc_dagster.refresh import open_instance, remake

    project = _project(options)
    instance, keys = open_instance(project.layout), options.partition or ()
    outcome = remake(project, instance, defs, options.asset, keys, ProgressLines(0), options.only)
    print(f"{len(outcome.made)} made, {len(outcome.failed)} failed, {len(outcome.blocked)} not tried because of that.")
    for sentence in losses_of_all(project.layout, outcome.made):
        print(sentence)
    return _status(outcome)


def _profile(options: argparse.Namespace) -> int:
    from geoloc_core.line.profile import Profile

    print(json.dumps(Profile.model_json_schema(), indent=2))
    return 0


def _backbones(options: argparse.Namespace) -> int:
    import pandas as pd

    from geoloc_core.features.backbones import BACKBONES
    from geoloc_core.features.checkpoints import describe

    project = _project(options)
    own = {name: project.profile.backbone(name) for name in project.profile.backbones()}
    rows = [describe(spec, project.checkpoints) for spec in {**BACKBONES, **own}.values()]
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    table = pd.DataFrame(rows).drop(columns="revision").rename(columns={"parameters": "parameters (M)", "bytes": "MB"})
    table["weights"] = table["weights"].str.replace("(package:[^/]*).*", r"\1", regex=True)
    print(table.assign(MB=(table["MB"] / 1e6).round(1).replace(0.0, "")).to_string(index=False))
    return 0


def _predict(options: argparse.Namespace) -> int:
    from geoloc_core.answers.predict import Prediction, written

    project = _project(options)
    for file in options.files:
        if file.is_dir():
            raise InputError(f"{file} is a folder; give photos, or use `geoloc evaluate {file}`")
    refused: list[str] = []
    answered = 0
    stopped = False

    def batches() -> Iterator[list[Prediction]]:
        nonlocal answered, stopped
        try:
            for batch in predictor.stream(options.files):
                refused.extend(prediction.detail for prediction in batch if prediction.status != "ok")
                answered += len(batch)
                yield batch
        except KeyboardInterrupt:
            stopped = True  # the list or table is ended as usual: what was answered is whole

    try:
        predictor = _predictor(options, project)
        for text in written(batches(), options.shape, predictor.answerer.head.promise):
            print(text, end="", flush=True)
    except KeyboardInterrupt:
        stopped = True
    for detail in refused:
        print(f"geoloc: {visible(detail)}", file=sys.stderr)
    if stopped:
        words = f"the answers for {answered:,} of {len(options.files):,} photos are written; ask again for the others"
        print(f"geoloc: stopped; {words}", file=sys.stderr)
        return STOPPED
    _notice(project)
    return WRONG if len(refused) == answered else FAILED if refused else 0


def _predictor(options: argparse.Namespace, project: Project) -> "Predictor":
    """The packed model that the options name, or the champion, with what the profile says of devices and pictures."""
    from geoloc_core.answers.predict import Predictor

    # An encoding of the output that lacks a letter of a name must not end the answers.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    model, profile = options.model or project.layout.model, project.profile
    return Predictor.load(model, project.checkpoints, profile.device, profile.images)


def _evaluate(options: argparse.Namespace) -> int:
    from geoloc_core.answers.folder_evaluation import evaluate_folder
    from geoloc_core.geography.boundaries import load_boundaries

    project = _project(options)
    profile = project.profile
    if not options.folder.is_dir():
        raise InputError(f"{options.folder} is not a folder; give a folder of photos with GPS in their EXIF")
    out = options.out or project.home / "evaluations" / options.folder.resolve().name
    boundaries = load_boundaries(profile.boundaries)
    predictor, cap = _predictor(options, project), profile.near_cap_km
    done = evaluate_folder(predictor, options.folder, out, boundaries, near_cap_km=cap, notice=profile.notice)
    print(done.table)
    print(f"{done.accepted} photos evaluated, {done.refused} of {done.accepted + done.refused} files refused:")
    for reason, count in done.reasons.items():
        print(f"  {count:5d}  {reason}")
    print(f"Page with the map of errors: {visible(str(done.page))}")
    _notice(project)
    # A folder holds other things than photos; only one in which nothing could be judged is a wrong input.
    return 0 if done.accepted else WRONG


def _results(options: argparse.Namespace) -> int:
    project = _project(options)
    tables = {path.stem: json.loads(path.read_bytes()) for path in _table_files(project, "json")}
    about = {"profile": project.profile.name, "notice": project.profile.notice}
    print(json.dumps(about | tables, indent=2, ensure_ascii=False))
    return 0


def _table_files(project: Project, suffix: str) -> list[Path]:
    folder = project.layout.results
    tables = [folder / f"{name}.{suffix}" for name in ("table1", "table2", "comparison", "table3")]
    if not all(table.is_file() for table in tables):
        raise InputError(f"there are no results in {folder} yet; make them with `geoloc refresh`")
    return tables


def _report(options: argparse.Namespace) -> int:
    project = _project(options)
    for table in _table_files(project, "md"):
        print(table.read_text(encoding="utf-8"))
    folder = project.layout.results
    print(f"Report: {folder / 'report.html'}")
    for picture in sorted(folder.glob("*.png")):
        print(f"Map:    {picture}")
    _notice(project)
    return 0


def _notice(project: Project) -> None:
    if project.profile.notice:
        print(f"Note: {project.profile.notice}", file=sys.stderr)


def _demo(options: argparse.Namespace) -> int:
    from geoloc_core.photos.rows import read_rows

    project = _project(options)
    status = refresh_and_report(project)
    if status:
        return status
    print()
    _report(options)
    shard = project.profile.benchmark_names()[0]
    manifest = read_rows(project.layout.images(shard))
    usable = manifest.loc[manifest["status"] == "ok", "image_path"]
    photo = picture_folder_of(project.profile, project.layout, shard) / str(usable.iloc[0])
    print(f"\n$ geoloc predict {os.path.relpath(photo)}", flush=True)
    status = _predict(argparse.Namespace(**vars(options), files=[photo], shape="table", model=None))
    mine = "`.venv/bin/geoloc predict YOUR_PHOTO.jpg` answers for a photo of yours"
    print(f"\nNext: `make ui` opens the Dagster UI; {mine}.")
    return status


def _ui(options: argparse.Namespace) -> int:
    from geoloc_dagster.ui import serve

    return serve(_project(options), options.port)


if __name__ == "__main__":
    sys.exit(main())
