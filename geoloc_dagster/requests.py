"""From the plan to run requests: which targets can be made now, and when one is tried again.

Conditions that wait for an *event* lose it when the run fails, and conditions that look for *failure* start hundreds of
thousands of runs. So a request is made from the state of things alone, and its run key is a hash of that state: one state
is tried once. A new try needs another input, another code version, another receipt, or a later materialization.
"""

import datetime
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from geoloc_core.line.artifacts import LINE, Target
from geoloc_core.line.project import Project
from geoloc_core.line.receipts import read_receipt
from geoloc_core.line.staleness import REFUSED, Plan, State, ready_steps
from geoloc_core.storage import value_sha256

# Runs of one target from the very same inputs and code within a day. A run that ends well and leaves its target stale (its
# data folder is not ours, a file is deleted again and again) would otherwise be started for ever.
MOST_ATTEMPTS = 5
ATTEMPT_TAG = "geoloc/attempt"
REASON_TAG = "geoloc/reason"
TARGET_TAG = "geoloc/target"
LONGEST_REASON = 500


@dataclass(frozen=True)
class Requests:
    """Run requests, and the targets that are stale and held back, each with the reason."""

    runs: list[dg.RunRequest] = field(default_factory=list)
    held: dict[Target, str] = field(default_factory=dict)
    waiting: int = 0

    @property
    def sentence(self) -> str:
        """What a person reads where nothing was requested."""
        parts = [f"{target}: {why}" for target, why in self.held.items()]
        if self.waiting:
            parts.append(f"{self.waiting} wait for what they are made from")
        return "; ".join(parts) or "nothing is stale"


def request_runs(
    state: State,
    instance: dg.DagsterInstance,
    plan: Plan,
    assets: Collection[str],
    checks: Iterable[dg.AssetCheckKey] = (),
    because: str = "",
) -> Requests:
    """Requests for the targets of `assets` that are stale and can be made now.

    `checks` are the checks of content that each run evaluates as well. `because` goes before the reasons of the plan.
    """
    by_asset: dict[str, list[dg.AssetCheckKey]] = {}
    for key in checks:
        by_asset.setdefault(key.asset_key.path[-1], []).append(key)
    ready = ready_steps(state.project, plan, assets)
    requests = Requests(waiting=sum(step.target.asset in assets for step in plan.steps) - len(ready))
    last = _last_materializations(instance, {step.target.asset for step in ready})
    for step in ready:
        target, attempt = step.target, attempt_of(state, step.target)
        if _made_since(state, target):
            # The tick looked before the target was made and would request it once more: the materialization that it has
            # found by now makes another run key. A receipt is written before its materialization, so it tells.
            requests.held[target] = "made while this tick was looking"
        elif all(reason.what.startswith(REFUSED) for reason in step.reasons):
            # The same inputs and the same code give the same content: only something new, or a person, tries again.
            requests.held[target] = str(step.reasons[0])
        elif _recent_runs(instance, attempt) >= MOST_ATTEMPTS:
            often = f"made {MOST_ATTEMPTS} times within a day from the same inputs and still stale ({step.reasons[0]})"
            requests.held[target] = f"{often}; look whether the runs write to this data folder"
        else:
            why = "; ".join(filter(None, [because, step.why]))[:LONGEST_REASON]
            requests.runs.append(
                dg.RunRequest(
                    run_key=run_key(state, target, attempt, last.get(target, 0)),
                    asset_selection=[dg.AssetKey(target.asset)],
                    asset_check_keys=by_asset.get(target.asset, []),
                    partition_key=target.partition or None,
                    run_config=chosen_project(state.project),
                    tags={REASON_TAG: why, TARGET_TAG: str(target), ATTEMPT_TAG: attempt},
                )
            )
    return requests


def attempt_of(state: State, target: Target) -> str:
    """A hash of what the target would be made from now."""
    inputs = {"code": LINE[target.asset].version, "inputs": state.input_versions(target)}
    return value_sha256([str(target), inputs])


def run_key(state: State, target: Target, attempt: str, last_materialization: int) -> str:
    """Names one state of one target: the state that is wanted, and the state that is there.

    The receipt's run and the last materialization tell content A from the same content A after B was made between
    (A -> B -> A is done again), and a receipt that was lost from one that never was.
    """
    receipt = state.receipts.get(target)
    present = [receipt.run_id, receipt.data_version, state.damage(target)] if receipt else []
    return f"{target}:{value_sha256([attempt, present, last_materialization])[:16]}"


def chosen_project(project: Project) -> dict[str, Any]:
    """Run config that says in the run itself which project it works on."""
    config = {"profile": str(project.profile_path), "home": str(project.home)}
    return {"resources": {"project": {"config": config}}}


def _made_since(state: State, target: Target) -> bool:
    """Whether a run wrote the target's receipt after the state of things was read."""
    before, now = state.receipts.get(target), read_receipt(state.project.layout, target)
    return now is not None and (before is None or before.run_id != now.run_id)


def _last_materializations(instance: dg.DagsterInstance, assets: Iterable[str]) -> Mapping[Target, int]:
    """The event log's number of the last materialization of every target of these assets."""
    storage, numbers = instance.event_log_storage, {}
    for asset in assets:
        key = dg.AssetKey(asset)
        by_partition = storage.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
        numbers.update({Target(asset, partition): number for partition, number in by_partition.items()})
        if not by_partition:
            event = instance.get_latest_materialization_event(key)
            records = instance.get_asset_records([key]) if event else []
            numbers |= {Target(asset): record.asset_entry.last_materialization_storage_id or 0 for record in records}
    return numbers


def _recent_runs(instance: dg.DagsterInstance, attempt: str) -> int:
    day_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    return instance.get_runs_count(dg.RunsFilter(tags={ATTEMPT_TAG: attempt}, created_after=day_ago))
