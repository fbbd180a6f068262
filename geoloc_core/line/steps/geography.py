"""The boundary set in use."""

from __future__ import annotations

from geoloc_core.geography.boundaries import load_boundaries, write_boundaries
from geoloc_core.line.steps import Job, Markdown, Output
from geoloc_core.storage import file_sha256

MOST_REPAIRS_SHOWN = 60


def regions(job: Job) -> Output:
    """Countries and their first-level sub-divisions: the cells that a photo can be labelled with.

    Countries are the union of their sub-divisions, so the two levels never disagree. What had to be repaired in a
    boundary set is listed with each materialization.
    """
    boundaries = load_boundaries(job.profile.boundaries)
    path = job.layout.regions
    write_boundaries(boundaries, path)
    facts = {
        "rows": len(boundaries.countries) + len(boundaries.subdivisions),
        "countries": len(boundaries.countries),
        "subdivisions": len(boundaries.subdivisions),
        "attribution": boundaries.attribution,
        "repaired": len(boundaries.repairs),
        "countries_by_continent": boundaries.countries["continent"].value_counts().to_dict(),
    }
    if boundaries.repairs:
        shown = (
            f"| {r.level} | {r.region_id} | {r.what} | {r.detail} |" for r in boundaries.repairs[:MOST_REPAIRS_SHOWN]
        )
        facts["repairs"] = Markdown("\n".join(["| level | region | what | detail |", "|---|---|---|---|", *shown]))
    return Output(file_sha256(path), [path], facts=facts)
