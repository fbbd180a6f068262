"""What is expected of a delivery as a batch, in Great Expectations: shares, concentration and drift.

Rules about single rows stand in the tables' schemas. These are warnings: a delivery that breaks one may still be right,
and a person should look; `data_docs` is a page that shows them. (Great Expectations' own pages load scripts from eight
hosts, and carry values from the delivery as they are.) The drift of the countries is the project's one verdict
on drift: `drift_of(outcomes)`.

Great Expectations takes seconds to import, so it is imported where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd

from geoloc_core.geography.cells import ROOT, id_column
from geoloc_core.photos.sources.row_choice import OF_ANOTHER
from geoloc_core.storage import replacing_folder

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

DRIFT = f"{ROOT}_drift"
_REGION = id_column(ROOT)
# The most of each that passes without a warning; shares from 0 to 1, drift in nats.
LIMITS = {"rejected": 0.10, "near": 0.15, "none": 0.05, "author_share": 0.10, "drift": 0.10}
# Weight kept for regions that the last delivery did not have, so that a new one costs something finite.
_UNSEEN_WEIGHT = 1e-3


@dataclass(frozen=True)
class Outcome:
    """One expectation's outcome: what was measured (a share, or for `DRIFT` nats), against which limit."""

    name: str
    success: bool
    observed: float
    limit: float
    sentence: str


def check_delivery(
    labeled: pd.DataFrame,
    rejected: pd.DataFrame,
    previous: pd.DataFrame | None = None,
    data_docs: Path | None = None,
    name: str = "delivery",
) -> list[Outcome]:
    """The outcomes for one delivery: `LabeledPhotos`, the `RejectedRows` beside them, and the `LabeledPhotos` of the
    last delivery, if there was one. With `data_docs` that folder is replaced by one with a page, `index.html`.
    """
    rows = delivery_rows(labeled, rejected)
    if rows.empty:
        return []
    results = _run(name, rows, _expectations(labeled, previous))
    outcomes = [_outcome(result) for result in results]
    if data_docs is not None:
        with replacing_folder(data_docs) as folder:
            (folder / "index.html").write_text(page_of(name, rows, outcomes), encoding="utf-8")
    return outcomes


def page_of(name: str, rows: pd.DataFrame, outcomes: Sequence[Outcome]) -> str:
    """One HTML file that opens from disk and asks nothing of anybody: the outcomes, and how often each value occurs."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("geoloc_core.photos", ""), autoescape=True, undefined=jinja2.StrictUndefined
    )
    counts = {
        "What became of the rows": rows["outcome"],
        "Where the photos lie": rows["label_quality"],
        f"{ROOT.capitalize()} of the photos": rows[_REGION],
    }
    return environment.get_template("delivery.html.j2").render(
        name=name, outcomes=outcomes, counts={title: column.value_counts() for title, column in counts.items()}
    )


def drift_of(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The drift of the regions: the Kullback-Leibler divergence of this delivery from the last, in nats.

    None where there was nothing to compare.
    """
    return next((outcome for outcome in outcomes if outcome.name == DRIFT), None)


def delivery_rows(labeled: pd.DataFrame, rejected: pd.DataFrame) -> pd.DataFrame:
    """One row for each row that came in: `outcome` ("accepted" or the reason), `label_quality`, the id of the region, and
    `author_share`, the share of the photos that are by the same author.

    What does not apply is missing, and left out by expectations: all but the outcome of a rejected row, the region of a
    photo that lies in none, the share of an author who is not known.
    """
    region, author = (labeled[name].mask(labeled[name] == "") for name in (_REGION, "author_id"))
    accepted = pd.DataFrame(
        {
            "outcome": "accepted",
            "label_quality": labeled["label_quality"].to_numpy(dtype=object),
            _REGION: region.to_numpy(dtype=object),
            "author_share": author.map(author.value_counts() / max(1, len(labeled))).to_numpy(dtype=float),
        }
    )
    own = rejected.loc[~rejected["reason"].isin(OF_ANOTHER), "reason"]
    refused = pd.DataFrame({"outcome": own.to_numpy(dtype=object)})
    return pd.concat([accepted, refused.reindex(columns=accepted.columns).astype(accepted.dtypes)], ignore_index=True)


def drift_limit(labeled: pd.DataFrame, previous: pd.DataFrame, drift: float) -> float:
    """`drift` and what chance alone adds to it.

    The divergence of a sample of n from its own distribution over K classes is about (K - 1) / 2n (half a chi-squared,
    Wilks 1938), which matters for small deliveries; the same again for the last one, which is a sample too.
    """
    sizes = [int((frame[_REGION] != "").sum()) for frame in (labeled, previous)]
    classes = previous.loc[previous[_REGION] != "", _REGION].nunique()
    return drift + sum((max(classes, 1) - 1) / (2 * max(size, 1)) for size in sizes)


def _expectations(labeled: pd.DataFrame, previous: pd.DataFrame | None) -> list[Expectation]:
    from great_expectations import expectations as gxe
    from great_expectations.expectations.metadata_types import FailureSeverity

    def warning(name: str, limit: float, sentence: str) -> dict[str, Any]:
        meta = {"name": name, "limit": limit, "sentence": sentence}
        return {"meta": meta, "severity": FailureSeverity.WARNING}

    def share(name: str, sentence: str) -> dict[str, Any]:
        return {"mostly": 1.0 - LIMITS[name], **warning(f"{name}_share", LIMITS[name], sentence)}

    accepted = share("rejected", "of the rows were rejected")
    planned: list[Expectation] = [gxe.ExpectColumnValuesToBeInSet(column="outcome", value_set=["accepted"], **accepted)]
    for name, sentence in (("near", "lie outside every region but near one"), ("none", "lie far from every region")):
        rule = {"column": "label_quality", "value_set": [name], **share(name, f"of the photos {sentence}")}
        planned.append(gxe.ExpectColumnValuesToNotBeInSet(**rule))
    if labeled["author_id"].ne("").any():
        limit = LIMITS["author_share"]
        rule = {"column": "author_share", **warning("author_concentration", limit, "of the photos are by one author")}
        planned.append(gxe.ExpectColumnMaxToBeBetween(max_value=limit, **rule))
    before = previous[_REGION][previous[_REGION] != ""] if previous is not None else pd.Series(dtype=object)
    if previous is not None and len(before) and (labeled[_REGION] != "").any():
        weights = before.value_counts(normalize=True).sort_index()
        limit = drift_limit(labeled, previous, LIMITS["drift"])
        planned.append(
            gxe.ExpectColumnKLDivergenceToBeLessThan(
                column=_REGION,
                partition_object={"values": weights.index.tolist(), "weights": weights.tolist()},
                threshold=limit,
                tail_weight_holdout=_UNSEEN_WEIGHT,
                **warning(DRIFT, limit, f"nats of drift between the {ROOT} labels of this delivery and the last"),
            )
        )
    return planned


def _run(name: str, rows: pd.DataFrame, planned: list[Expectation]) -> list[Any]:
    """The validation result of each expectation, in order."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas(name).add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("rows")
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=planned))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
    return list(definition.run(batch_parameters={"dataframe": rows}).results)


def _outcome(result: Any) -> Outcome:
    config = result.expectation_config
    if result.exception_info.get("raised_exception"):
        raise RuntimeError(f"{config.type} could not be evaluated: {result.exception_info['exception_message']}")
    measured, meta = result.result, config.meta
    if "unexpected_percent" in measured:
        observed = float(measured["unexpected_percent"] or 0.0) / 100.0
    else:
        observed = float(measured["observed_value"] if measured["observed_value"] is not None else math.inf)
    amount = f"{observed:.3f}" if meta["name"] == DRIFT else f"{observed:.1%}"
    sentence = f"{amount} {meta['sentence']}"
    return Outcome(meta["name"], bool(result.success), observed, float(meta["limit"]), sentence)
