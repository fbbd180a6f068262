"""Which head answers for new photos: the best challenges the champion, and the rule of `evaluation.champion` decides.

The champion is what lies packed in `Layout.model`. It is compared on the present validation photos; where its head was
trained again or its experiment has left the profile, it answers for them anew from its package. Without a champion the
challenger must beat the class prior; where it does not, it answers all the same, but is called provisional.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from geoloc_core.answers.package import ModelDescription, Packed, pack, read_answerer, read_description
from geoloc_core.errors import CheckpointError, StaleArtifactError
from geoloc_core.evaluation.baselines import CLASS_PRIOR, class_prior_predictions
from geoloc_core.evaluation.champion import CONTINENT_MARGIN, METRIC, challenge
from geoloc_core.evaluation.evaluate import Evaluation
from geoloc_core.evaluation.predictions import continents, predictions_frame, read_predictions
from geoloc_core.features.shards import shard_metadata
from geoloc_core.geography.boundaries import read_boundaries
from geoloc_core.geography.cells import FINEST, LEVELS, ROOT
from geoloc_core.line.inputs import LEARNED_FROM, picture_status, read_blocks, read_one_point
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile
from geoloc_core.photos.warehouse import Warehouse
from geoloc_core.storage import read_checked, read_json, write_json

MOST_REMEMBERED = 100


@dataclass(frozen=True)
class Promotion:
    """The package that answers, whether it is a champion or only provisional, and the last entry of the decisions."""

    packed: Packed
    accepted: bool
    decision: dict[str, Any]


class Decision(BaseModel):
    """An entry of champion.json: what every reader relies on, among other figures."""

    model_config = ConfigDict(extra="allow")

    experiment: str
    accepted: bool
    challenger: str
    opponent: str
    metric: str
    reasons: list[str]
    gain: dict[str, Any] | None


def pack_head(profile: Profile, layout: Layout, key: str, folder: Path, companion: str = "") -> Packed:
    """Pack the head of an experiment, and that of a companion which is asked for the sub-division within the country."""
    features = [profile.features[profile.experiment(name).features] for name in (key, companion) if name]
    names = list(dict.fromkeys(name for backbones in features for name in backbones))
    description = {
        "profile": profile.name,
        "notice": profile.notice,
        "answer": profile.answer_of(key),
        "experiment": key,
        "companion": companion,
        "split": profile.split.model_dump(),
        "backbones": {name: read_json(layout.backbone(name)) for name in names},
        "specifications": {name: asdict(profile.backbone(name)) for name in names},
        "validation": _evaluation(layout, key).to_json()["scores"],
    }
    return pack(
        folder,
        layout.head(key),
        layout.head(companion) if companion else None,
        {level: (layout.region_anchors(level), layout.region_cells(level)) for level in LEVELS},
        read_boundaries(layout.regions),
        description,
    )


def choose_champion(profile: Profile, layout: Layout, warehouse: Warehouse) -> Promotion:
    """Let the experiment with the best validation accuracy challenge the champion; pack the one that answers, record why."""
    evaluations = {key: _evaluation(layout, key) for key in profile.experiment_keys()}
    challenger = _best_by(evaluations, METRIC)
    training = warehouse.read_table("training_photos", columns=LEARNED_FROM)
    photos = training[training["split"] == "validation"].reset_index(drop=True)
    history = decisions(layout)
    standing = None
    if history and history[0]["accepted"]:
        with contextlib.suppress(CheckpointError):
            standing = read_description(layout.model)
    champion = standing.experiment if standing else ""
    same_head = bool(standing) and _same_head(layout, champion)
    if same_head and champion == challenger:
        return Promotion(_pack(profile, layout, challenger, evaluations), True, history[0])

    theirs, instead = _answers_of_standing(profile, layout, photos, same_head, standing) if standing else (None, "")
    mine = read_predictions(layout.validation_report(challenger) / "predictions.parquet")
    if theirs is not None:
        opponent, decision = champion, challenge(mine, theirs)
        accepted, moves, reasons = True, decision.moves, list(decision.reasons)
    else:
        opponent, decision = CLASS_PRIOR, challenge(mine, _prior(layout, training, photos, mine), margin=None)
        accepted, moves = decision.moves, True
        outcome = "does not beat the class prior beyond its interval: it answers, but is provisional."
        if accepted:
            outcome = "beats the class prior and becomes champion."
        reasons = [f"`{challenger}` {outcome}", *decision.reasons[1:]]
    if moves or same_head:
        packed = _pack(profile, layout, challenger if moves else opponent, evaluations)
    else:
        packed = Packed.read(layout.model)
    by_continent = decision.continents.to_dict("records")
    entry = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "experiment": packed.experiment,
        "accepted": accepted,
        "challenger": challenger,
        "opponent": opponent,
        "moved": moves,
        "metric": METRIC,
        "continent_margin": CONTINENT_MARGIN if theirs is not None else None,
        "reasons": [instead, *reasons] if instead else reasons,
        "gain": asdict(decision.gain),
        "continents": [
            {name: None if pd.isna(value) else value for name, value in row.items()} for row in by_continent
        ],
    }
    write_json(layout.champion_decision, [entry, *history][:MOST_REMEMBERED])
    return Promotion(packed, accepted, entry)


def _evaluation(layout: Layout, key: str) -> Evaluation:
    return Evaluation.from_json(read_json(layout.validation_report(key) / "evaluation.json"))


def _best_by(evaluations: Mapping[str, Evaluation], metric: str) -> str:
    """The key whose `metric` is highest; of equals, the first in the order of the profile."""
    return max(evaluations, key=lambda key: evaluations[key].scores.get(metric, float("-inf")))


def _pack(profile: Profile, layout: Layout, key: str, evaluations: Mapping[str, Evaluation]) -> Packed:
    """Pack an experiment's present head; a head of countries gets the best head with sub-divisions as its companion."""
    finer = {name: one for name, one in evaluations.items() if profile.experiment(name).level != ROOT}
    companion = "" if key in finer or not finer else _best_by(finer, f"{FINEST}_accuracy")
    return pack_head(profile, layout, key, layout.model, companion)


def decisions(layout: Layout) -> list[dict[str, Any]]:
    """The decisions so far, the last one first; none where the file is missing or is not ours."""
    try:
        return [decision.model_dump() for decision in read_checked(layout.champion_decision, list[Decision])]
    except (OSError, ValueError):
        return []


def _same_head(layout: Layout, key: str) -> bool:
    """Whether the packed head is the experiment's present one; one that was only calibrated anew is another head."""
    try:
        packed, present = (read_json(folder / "head.json") for folder in (layout.model / "head", layout.head(key)))
        return all(packed[name] == present[name] for name in ("weights_sha256", "calibration"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _answers_of_standing(
    profile: Profile, layout: Layout, photos: pd.DataFrame, same_head: bool, standing: ModelDescription
) -> tuple[pd.DataFrame | None, str]:
    """The champion's predictions on the validation photos; None, and why, where it cannot answer for them."""
    if profile.split.model_dump() != standing.split:
        return None, "The champion may have learned from these validation photos, as the split has changed."
    if same_head and standing.experiment in profile.experiment_keys():
        return read_predictions(layout.validation_report(standing.experiment) / "predictions.parquet"), ""
    try:
        head, shards = read_answerer(layout.model, standing).head, profile.training_shards()
    except CheckpointError as error:  # packed by an earlier version of the program
        return None, f"The champion cannot be asked: {error}."
    for feature in head.features:
        name = feature["backbone"]
        if name not in profile.backbones():
            return None, f"The champion cannot be asked: the profile no longer has its backbone {name}."
        versions = {shard_metadata(layout.embeddings(name, shard))["identity"]["version"] for shard in shards}
        if versions != {feature["version"]}:
            return None, f"The champion cannot be asked: there is another checkpoint of {name} now."
    blocks, present = read_blocks(layout, tuple(feature["backbone"] for feature in head.features), shards, photos)
    # The rule looks at countries alone, and no anchor of a region that is gone may stand in its way.
    points, names = photos[["latitude", "longitude"]].to_numpy(), continents(read_boundaries(layout.regions))
    status = picture_status(layout, photos, present)
    posterior = head.country_posterior(blocks)
    return predictions_frame(photos, posterior, head.countries, points, continents=names, status=status), ""


def _prior(layout: Layout, training: pd.DataFrame, photos: pd.DataFrame, mine: pd.DataFrame) -> pd.DataFrame:
    """The class prior on the validation photos, answering where `mine` could."""
    if photos["photo_id"].tolist() != mine["photo_id"].tolist():
        raise StaleArtifactError(
            "the validation report is of other photos than training_photos; `geoloc refresh` makes it again"
        )
    names, status = continents(read_boundaries(layout.regions)), mine["status"].tolist()
    return class_prior_predictions(training, photos, read_one_point(layout)[ROOT], continents=names, status=status)
