"""The boundary set in use."""

import dagster as dg

from geoloc_core.line.lineage import CODE_VERSIONS
from geoloc_core.storage import file_sha256
from geoloc_dagster.metadata import counts_table, repairs_table
from geoloc_dagster.resources import ProjectResource


@dg.asset(
    group_name="geography",
    kinds={"parquet"},
    owners=["team:data"],
    code_version=CODE_VERSIONS["regions"],
    description="Countries and their first-level sub-divisions: the classes that a photo can be labelled with. Countries "
    "are the union of their sub-divisions, so the two levels never disagree. "
    "What had to be repaired in a boundary set is listed with each materialization.",
)
def regions(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    from geoloc_core.geography.boundaries import load_boundaries, write_boundaries

    work = project.begin(context)
    boundaries = load_boundaries(work.project.profile.boundaries)
    path = work.project.layout.regions
    write_boundaries(boundaries, path)
    return work.finish(
        file_sha256(path),
        files=[path],
        metadata={
            "dagster/row_count": len(boundaries.countries) + len(boundaries.subdivisions),
            "countries": len(boundaries.countries),
            "subdivisions": len(boundaries.subdivisions),
            "attribution": boundaries.attribution,
            "repaired": len(boundaries.repairs),
            **({"repairs": repairs_table(boundaries.repairs)} if boundaries.repairs else {}),
            "countries_by_continent": counts_table(
                boundaries.countries["continent"].value_counts().to_dict(), "continent"
            ),
        },
    )
