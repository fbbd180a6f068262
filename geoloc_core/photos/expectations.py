"""What is expected of a delivery as a batch, in Great Expectations: shares, concentration and drift.

Rules about single rows are the tables' contracts (`schemas`); nothing of them is said again here. These are warnings: a
delivery that breaks one may still be right, and a person should look. The Data Docs show each run as a page.

Great Expectations takes seconds to import, so it is imported where it is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

# Weight kept for countries that the last delivery did not have, so that a new one costs something finite.
_UNSEEN_WEIGHT = 1e-3


@dataclass(frozen=True)
class DeliveryThresholds:
    """The most of each that passes without a warning; shares from 0 to 1, drift in nats."""

    rejected: float = 0.10
    near: float = 0.15
    none: float = 0.05
    author_share: float = 0.10
    drift: float = 0.10


@dataclass(frozen=True)
class Outcome:
    """One expectation's outcome: what was measured, against which limit."""

    name: str
    expectation: str
    success: bool
    observed: float
    limit: float
    sentence: str


def check_delivery(
    labeled: pd.DataFrame,
    rejected: pd.DataFrame,
    previous: pd.DataFrame | None = None,
    thresholds: DeliveryThresholds | None = None,
    data_docs: Path | None = None,
    name: str = "delivery",
) -> list[Outcome]:
    """The outcomes for one delivery: `LabeledPhotos`, the `RejectedRows` beside them, and the `LabeledPhotos` of the
    last delivery, if there was one. With `data_docs` a folder gets the HTML pages; open its `index.html`.
    """
    thresholds = thresholds or DeliveryThresholds()
    rows, authors = delivery_rows(labeled, rejected), author_shares(labeled)
    planned = _row_expectations(thresholds, labeled, previous)
    results = _run(name, {"rows": (rows, planned), "authors": (authors, _author_expectations(thresholds))}, data_docs)
    return [_outcome(result) for result in results]


def delivery_rows(labeled: pd.DataFrame, rejected: pd.DataFrame) -> pd.DataFrame:
    """One row for each row that came in: `outcome` "accepted" or the reason, `label_quality` and `country_id`.

    The last two are missing for rejected rows, and the country also where there is none: expectations leave them out.
    """
    accepted = pd.DataFrame(
        {
            "outcome": "accepted",
            "label_quality": labeled["label_quality"].to_numpy(dtype=object),
            "country_id": labeled["country_id"].mask(labeled["country_id"] == "").to_numpy(dtype=object),
        }
    )
    refused = pd.DataFrame(
        {"outcome": rejected["reason"].to_numpy(dtype=object), "label_quality": None, "country_id": None}
    )
    return pd.concat([accepted, refused.astype(accepted.dtypes)], ignore_index=True)


def author_shares(labeled: pd.DataFrame) -> pd.DataFrame:
    """`author_id` and `share` of the photos, of each author who is known; most photos first."""
    counts = labeled.loc[labeled["author_id"] != "", "author_id"].value_counts()
    return pd.DataFrame({"author_id": counts.index, "share": counts.to_numpy() / max(1, len(labeled))})


def country_drift_limit(labeled: pd.DataFrame, previous: pd.DataFrame, drift: float) -> float:
    """`drift` and what chance alone adds to it.

    The divergence of a sample of n from its own distribution over K classes is about (K - 1) / 2n (half a chi-squared,
    Wilks 1938), which matters for small deliveries; the same again for the last one, which is a sample too.
    """
    sizes = [int((frame["country_id"] != "").sum()) for frame in (labeled, previous)]
    classes = previous.loc[previous["country_id"] != "", "country_id"].nunique()
    return drift + sum((max(classes, 1) - 1) / (2 * max(size, 1)) for size in sizes)


def _row_expectations(
    thresholds: DeliveryThresholds, labeled: pd.DataFrame, previous: pd.DataFrame | None
) -> list[Expectation]:
    from great_expectations import expectations as gxe
    from great_expectations.expectations.metadata_types import FailureSeverity

    planned: list[Expectation] = [
        gxe.ExpectColumnValuesToBeInSet(
            column="outcome",
            value_set=["accepted"],
            mostly=1.0 - thresholds.rejected,
            meta=_meta("share rejected", thresholds.rejected, "of the rows were rejected"),
            severity=FailureSeverity.WARNING,
        ),
        *(
            gxe.ExpectColumnValuesToNotBeInSet(
                column="label_quality",
                value_set=[quality],
                mostly=1.0 - limit,
                meta=_meta(f"share {quality}", limit, sentence),
                severity=FailureSeverity.WARNING,
            )
            for quality, limit, sentence in (
                ("near", thresholds.near, "of the photos lie outside every region but near one"),
                ("none", thresholds.none, "of the photos lie far from every region"),
            )
        ),
    ]
    known = previous["country_id"][previous["country_id"] != ""] if previous is not None else pd.Series(dtype=object)
    if previous is not None and len(known) and (labeled["country_id"] != "").any():
        weights = known.value_counts(normalize=True).sort_index()
        limit = country_drift_limit(labeled, previous, thresholds.drift)
        planned.append(
            gxe.ExpectColumnKLDivergenceToBeLessThan(
                column="country_id",
                partition_object={"values": weights.index.tolist(), "weights": weights.tolist()},
                threshold=limit,
                tail_weight_holdout=_UNSEEN_WEIGHT,
                meta=_meta("country drift", limit, "nats between the countries of this delivery and the last"),
                severity=FailureSeverity.WARNING,
            )
        )
    return planned


def _author_expectations(thresholds: DeliveryThresholds) -> list[Expectation]:
    from great_expectations import expectations as gxe
    from great_expectations.expectations.metadata_types import FailureSeverity

    return [
        gxe.ExpectColumnMaxToBeBetween(
            column="share",
            max_value=thresholds.author_share,
            meta=_meta("author concentration", thresholds.author_share, "of the photos are by one author"),
            severity=FailureSeverity.WARNING,
        )
    ]


def _meta(name: str, limit: float, sentence: str) -> dict[str, Any]:
    return {"name": name, "limit": limit, "sentence": sentence}


def _run(name: str, batches: dict[str, tuple[pd.DataFrame, list[Expectation]]], data_docs: Path | None) -> list[Any]:
    """The validation results of all batches that have rows, in order."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    actions: list[gx.checkpoint.actions.ValidationAction] = []
    if data_docs is not None:
        data_docs.mkdir(parents=True, exist_ok=True)
        context.add_data_docs_site(site_name="pages", site_config=_site(data_docs))
        actions.append(gx.checkpoint.UpdateDataDocsAction(name="pages", site_names=["pages"]))
    source = context.data_sources.add_pandas(name)
    results = []
    for what, (frame, planned) in batches.items():
        if frame.empty:
            continue
        batch = source.add_dataframe_asset(what).add_batch_definition_whole_dataframe(what)
        suite = context.suites.add(gx.ExpectationSuite(name=f"{name} {what}", expectations=planned))
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=f"{name} {what}", data=batch, suite=suite)
        )
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(name=f"{name} {what}", validation_definitions=[definition], actions=actions)
        )
        run = checkpoint.run(batch_parameters={"dataframe": frame})
        results += [result for validation in run.run_results.values() for result in validation.results]
    return results


def _site(folder: Path) -> Any:  # its own type wants keys that it does not need
    return {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
    }


def _outcome(result: Any) -> Outcome:
    config = result.expectation_config
    if result.exception_info.get("raised_exception"):
        raise RuntimeError(f"{config.type} could not be evaluated: {result.exception_info['exception_message']}")
    measured = result.result
    if "unexpected_percent" in measured:
        observed = float(measured["unexpected_percent"] or 0.0) / 100.0
    else:
        observed = float(measured["observed_value"] if measured["observed_value"] is not None else math.inf)
    meta = config.meta
    amount = f"{observed:.3f}" if "drift" in meta["name"] else f"{observed:.1%}"
    return Outcome(
        name=meta["name"],
        expectation=config.type,
        success=bool(np.bool_(result.success)),
        observed=observed,
        limit=float(meta["limit"]),
        sentence=f"{amount} {meta['sentence']}",
    )
