"""Which head answers for new photos: the best challenges the champion, and the rule of `evaluation.champion` decides.

The champion is what lies packed in `Layout.model`. It is compared on the present validation photos; where its head was
trained again or its experiment has left the profile, it answers for them anew from its package. Without a champion the
challenger must beat the class prior; where it does not, it answers all the same, but is called provisional.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from geoloc_core.answers.package import Packed, best_by, pack_head, package_files
from geoloc_core.answers.predict import read_answerer, read_description
from geoloc_core.errors import CheckpointError, StaleArtifactError
from geoloc_core.evaluation.baselines import CLASS_PRIOR, class_prior_predictions
from geoloc_core.evaluation.champion import CONTINENT_MARGIN, METRIC, Decision, challenge
from geoloc_core.evaluation.evaluate import Evaluation
from geoloc_core.evaluation.predictions import predictions_frame, read_predictions
from geoloc_core.features.shards import shard_metadata
from geoloc_core.geography.boundaries import read_boundaries
from geoloc_core.line.experiments import LEARNED_FROM, continents, picture_status, read_one_point
from geoloc_core.line.layout import Layout
from geoloc_core.line.profile import Profile
from geoloc_core.line.vectors import read_blocks
from geoloc_core.photos.warehouse import Warehouse
from geoloc_core.storage import read_json, write_json

MOST_REMEMBERED = 100


@dataclass(frozen=True)
class Promotion:
    """The package that answers, whether it is a champion or only provisional, and the last decision in words.

    decision: the entry that was added to `Layout.champion_decision`, or its last one where nobody challenged.
    """

    packed: Packed
    accepted: bool
    decision: dict[str, Any]


def choose_champion(profile: Profile, layout: Layout, warehouse: Warehouse) -> Promotion:
    """Let the experiment with the best validation accuracy challenge the champion; pack who answers, record why."""
    evaluations = {
        key: Evaluation.from_json(read_json(layout.validation_report(key) / "evaluation.json"))
        for key in profile.experiment_keys()
    }
    challenger = best_by(evaluations, METRIC)
    training = warehouse.read_table("training_photos", columns=LEARNED_FROM)
    history = _history(layout)
    standing = _standing(layout) if history and history[0]["accepted"] else None
    same_head = standing is not None and _same_head(layout, standing["experiment"])
    if standing is not None and same_head and standing["experiment"] == challenger:
        packed = _pack(profile, layout, challenger, evaluations)
        return Promotion(packed, True, history[0])

    theirs, instead = None, ""
    if standing is not None:
        if asdict(profile.split) != standing["split"]:
            instead = "The champion may have learned from these validation photos, as the split has changed."
        else:
            theirs, instead = _answers_of_standing(profile, layout, training, same_head, standing)
    mine = read_predictions(layout.validation_report(challenger) / "predictions.parquet")
    if theirs is not None:
        assert standing is not None
        opponent, decision = standing["experiment"], challenge(mine, theirs)
    else:
        opponent = CLASS_PRIOR
        decision = challenge(mine, _prior(layout, training, mine), continent_margin=None)
    moves = decision.moves or theirs is None
    accepted = decision.moves or theirs is not None
    if moves:
        packed = _pack(profile, layout, challenger, evaluations)
    elif same_head:
        packed = _pack(profile, layout, opponent, evaluations)
    else:
        assert standing is not None
        packed = Packed(layout.model, package_files(layout.model), opponent, standing["companion"])
    reasons = list(decision.reasons)
    if opponent == CLASS_PRIOR:
        reasons[0] = (
            f"`{challenger}` beats the class prior and becomes champion."
            if accepted
            else f"`{challenger}` does not beat the class prior beyond its interval: it answers, but is provisional."
        )
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
        **_figures(decision),
    }
    write_json(layout.champion_decision, [entry, *history][:MOST_REMEMBERED])
    return Promotion(packed, accepted, entry)


def _pack(profile: Profile, layout: Layout, key: str, evaluations: Mapping[str, Evaluation]) -> Packed:
    """Pack an experiment's present head; a head of countries gets the best head with sub-divisions as its companion."""
    finer = {name: one for name, one in evaluations.items() if profile.experiment(name).level != "country"}
    companion = "" if key in finer or not finer else best_by(finer, "subdivision_accuracy")
    return pack_head(profile, layout, key, layout.model, companion)


def _history(layout: Layout) -> list[dict[str, Any]]:
    """The decisions so far, the last one first; none where the file is missing or is not ours."""
    try:
        history = read_json(layout.champion_decision)
    except (OSError, ValueError):
        return []
    return history if isinstance(history, list) and all("accepted" in entry for entry in history) else []


def _standing(layout: Layout) -> dict[str, Any] | None:
    try:
        return read_description(layout.model)
    except CheckpointError:
        return None


def _same_head(layout: Layout, key: str) -> bool:
    """Whether the packed head is the experiment's present one."""
    return _weights(layout.model / "head") is not None and _weights(layout.model / "head") == _weights(layout.head(key))


def _weights(folder: Path) -> tuple[str, str] | None:
    """Hash of a head's weights, and what it promises: a head that was only calibrated anew is another head."""
    try:
        described = read_json(folder / "head.json")
        return str(described["weights_sha256"]), repr(described["calibration"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _answers_of_standing(
    profile: Profile, layout: Layout, training: pd.DataFrame, same_head: bool, standing: Mapping[str, Any]
) -> tuple[pd.DataFrame | None, str]:
    """The champion's predictions on the validation photos; None, and why, where it cannot answer for them."""
    if same_head and standing["experiment"] in profile.experiment_keys():
        return read_predictions(layout.validation_report(standing["experiment"]) / "predictions.parquet"), ""
    try:
        answerer = read_answerer(layout.model, standing)
    except CheckpointError as error:  # packed by an earlier version of the program
        return None, f"The champion cannot be asked: {error}."
    head, shards = answerer.head, profile.training_shards()
    for feature in head.features:
        if feature["backbone"] not in profile.backbones():
            return None, f"The champion cannot be asked: the profile no longer has its backbone {feature['backbone']}."
        for shard in shards:
            version = shard_metadata(layout.embeddings(feature["backbone"], shard))["identity"]["version"]
            if version != feature["version"]:
                return None, f"The champion cannot be asked: there is another checkpoint of {feature['backbone']} now."
    photos = training[training["split"] == "validation"].reset_index(drop=True)
    names = tuple(feature["backbone"] for feature in head.features)
    blocks, found = read_blocks(layout, names, shards, photos)
    by_country = head.country_posterior(blocks)
    predictions = predictions_frame(
        photos,
        by_country,
        head.countries,
        # The rule looks at countries alone, and no anchor of a region that is gone may stand in its way.
        photos[["latitude", "longitude"]].to_numpy(),
        continents=continents(read_boundaries(layout.regions)),
        status=picture_status(layout, photos, found),
    )
    return predictions, ""


def _prior(layout: Layout, training: pd.DataFrame, mine: pd.DataFrame) -> pd.DataFrame:
    """The class prior on the photos of `mine`, answering where that could."""
    photos = training[training["split"] == "validation"].reset_index(drop=True)
    if photos["photo_id"].tolist() != mine["photo_id"].tolist():
        raise StaleArtifactError(
            "the validation report is of other photos than training_photos; `geoloc refresh` mends it"
        )
    return class_prior_predictions(
        training,
        photos,
        read_one_point(layout)["country"],
        continents=continents(read_boundaries(layout.regions)),
        status=mine["status"].tolist(),
    )


def _figures(decision: Decision) -> dict[str, Any]:
    gain = decision.gain
    rows = decision.continents.to_dict("records")
    return {
        "gain": None if gain is None else {"value": gain.value, "low": gain.low, "high": gain.high},
        "continents": [{str(k): None if v != v else v for k, v in row.items()} for row in rows],
    }
