"""A delivery as a whole: garbage is stopped before it reaches the warehouse, the unusual is shown to a person.

Great Expectations is imported inside the function; its pages (Data Docs) lie below the data folder.
"""

import dagster as dg

from geoloc_core.line.layout import EMBEDDED_BOUNDARIES
from geoloc_core.line.project import Project
from geoloc_dagster.assets import photos
from geoloc_dagster.checks.verdict import Verdict, asset_check
from geoloc_dagster.metadata import file_link


def delivery_is_not_garbage(project: Project, shard: str) -> Verdict:
    """The coordinates of the shard as a whole can be right: they are not partly exchanged, mirrored or out of range,
    and not piled up at one point or on whole degrees.
    """
    from geoloc_core.photos.damage import coordinate_damage
    from geoloc_core.photos.labels import locator_of
    from geoloc_core.photos.rows import read_rows

    accepted = read_rows(project.layout.raw_photos(shard))
    rejected = read_rows(project.layout.rejected_rows(shard))
    # The embedded boundaries, whichever set labels the photos: the question is only where there is land.
    locator = locator_of(EMBEDDED_BOUNDARIES, project.profile.near_cap_km, project.layout.cache)
    damage = coordinate_damage(
        accepted["latitude"].to_numpy(),
        accepted["longitude"].to_numpy(),
        accepted["author_id"].to_numpy(dtype=object),
        int((rejected["reason"] == "out_of_range").sum()),
        lambda latitude, longitude: locator.locate(longitude=longitude, latitude=latitude).country_index >= 0,
    )
    figures = {
        "rows": damage.rows,
        "out_of_range": damage.out_of_range,
        "unlabelled": damage.unlabelled,
        "at_one_point": damage.one_point,
        "on_whole_degrees": damage.whole_degrees,
        **{f"on_land_after_{name.replace(' ', '_')}": share for name, share in damage.repaired.items()},
    }
    return Verdict("; ".join(damage.problems()), figures)


def delivery_as_expected(project: Project, shard: str) -> Verdict:
    """Shares of rejected, near and unlabelled rows, the largest author's share, and the drift of the countries against the
    shard before lie within what is usual. A warning: a person should look at the Data Docs.
    """
    from geoloc_core.photos.expectations import check_delivery
    from geoloc_core.photos.rows import read_rows

    layout = project.layout
    labeled = project.warehouse().read_table("labeled_photos", {"shard": shard})
    before = previous_shard(project, shard)
    previous = project.warehouse().read_table("labeled_photos", {"shard": before}) if before else None
    pages = layout.data_docs / shard
    outcomes = check_delivery(
        labeled,
        read_rows(layout.rejected_rows(shard)),
        previous if previous is not None and len(previous) else None,
        data_docs=pages,
        name=shard,
    )
    wrong = "; ".join(outcome.sentence for outcome in outcomes if not outcome.success)
    figures = {outcome.name: outcome.observed for outcome in outcomes}
    return Verdict(wrong, {**figures, "data_docs": file_link(layout.home, pages / "index.html")})


def previous_shard(project: Project, shard: str) -> str:
    """The training shard before this one, or an empty text; a benchmark is compared with nothing."""
    shards = project.profile.training_shards()
    return shards[shards.index(shard) - 1] if shard in shards[1:] else ""


CHECKS: list[dg.AssetChecksDefinition] = [
    asset_check(photos.raw_photos, "not_garbage", delivery_is_not_garbage, blocking=True),
    asset_check(photos.labeled_photos, "as_expected", delivery_as_expected, blocking=False),
]
