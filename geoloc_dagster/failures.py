"""A failed run as one line that a person can act on."""

import datetime
import re
from collections.abc import Iterable
from typing import NamedTuple

import dagster as dg

from geoloc_core import errors
from geoloc_core.errors import GeolocError
from geoloc_dagster.requests import TARGET_TAG

# Errors whose sentence says what to mend; all others are faults of the program or the machine.
REFUSED = "Refused"
MENDABLE = {REFUSED} | {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, GeolocError)
}


class Failure(NamedTuple):
    """What failed, how, and what a person does about it."""

    target: str
    run_id: str
    kind: str
    message: str

    def line(self, at: datetime.datetime) -> str:
        """One line for the log, with the mend."""
        asset, _, partition = self.target.removesuffix("]").partition("[")
        command = f"`geoloc run {asset}" + (f" --partition '{partition}'`" if partition else "`")
        advice = f"a fault of the program or the machine: the traceback is in run {self.run_id}; try again by {command}"
        if self.kind in MENDABLE:
            advice = (
                f"mend what the sentence names; then it is tried again when an input changes, or at once by {command}"
            )
        if not self.kind:
            advice = f"the process was stopped or lost its machine: `geoloc refresh` goes on from there, or {command}"
        what = f"{self.kind}: {self.message}" if self.kind else self.message
        return f"{at:%Y-%m-%dT%H:%M:%SZ} FAILED {self.target} (run {self.run_id[:8]}): {what} | {advice}"


def failure_of(events: Iterable[dg.DagsterEvent]) -> tuple[str, str]:
    """Why a run failed: the name of the error's class, and its message in one line.

    The first of our errors, which says what to mend, or else the root cause.
    """
    for event in events:
        error = getattr(event.event_specific_data, "error", None)
        if not (event.is_step_failure or event.is_run_failure) or error is None:
            continue
        while error.cls_name not in MENDABLE and error.cause is not None:
            error = error.cause
        kind = error.cls_name or "Exception"
        # "package.module.Kind: sentence", as tracebacks write it.
        return kind, re.sub(rf"^(\w+\.)*{re.escape(kind)}: ", "", " ".join(error.message.split()))
    return "", "the run failed without an error; look at it in the Dagster UI"


def describe(run: dg.DagsterRun, failure_message: str, events: Iterable[dg.DagsterEvent], refused: str = "") -> Failure:
    """The failure of a run; `refused` is what a check found wrong with the content."""
    if refused:
        return Failure(target_of(run), run.run_id, REFUSED, refused)
    kind, message = failure_of(events)
    return Failure(target_of(run), run.run_id, kind, message if kind else " ".join(failure_message.split()))


def target_of(run: dg.DagsterRun) -> str:
    """The target that a run was about, as `asset[partition]`."""
    if TARGET_TAG in run.tags:
        return run.tags[TARGET_TAG]
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or run.job_name
    partition = run.tags.get("dagster/partition", "")
    return f"{assets}[{partition}]" if partition else assets
