"""What a person sees in the Dagster UI, held on real definitions and on the events of a real project."""

import io
import itertools
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from PIL import Image

from geoloc_core.line.artifacts import partitions, targets
from geoloc_core.line.project import Project
from geoloc_core.photos.contact_sheet import MOST_PICTURES, SIDE, contact_sheet
from geoloc_core.tables import columns_of
from geoloc_dagster.build import ALSO_TAG, build_asset
from geoloc_dagster.definitions import defs
from geoloc_dagster.metadata import LARGEST_PICTURE_BYTES, file_link, schemas
from geoloc_dagster.refresh import open_instance

TABLES = schemas()


Metadata = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def events(made_project: Project) -> Metadata:
    """The metadata of every partition's last materialization, by asset; `also` is the tag of its run."""
    shown: Metadata = {}
    with open_instance(made_project.layout) as instance:
        for target in targets(made_project.profile):
            keys = [target.partition] if target.partition else None
            records = instance.fetch_materializations(
                dg.AssetRecordsFilter(dg.AssetKey(target.asset), asset_partitions=keys), 5
            ).records
            assert len(records) == 1, target
            event, run = records[0].asset_materialization, instance.get_run_by_id(records[0].run_id)
            assert event is not None
            assert run is not None
            shown.setdefault(target.asset, []).append({**event.metadata, "also": run.tags.get(ALSO_TAG, "")})
    return shown


@pytest.mark.parametrize("asset", TABLES)
def test_every_column_of_every_table_is_explained_and_its_lineage_leads_to_columns(events, asset):
    (spec,) = (spec for spec in defs.resolve_all_asset_specs() if spec.key == dg.AssetKey(asset))
    upstream = {dep.asset_key.to_user_string() for dep in spec.deps}
    names = [column.name for column in columns_of(TABLES[asset])]
    for metadata in events[asset]:
        columns = metadata["dagster/column_schema"].value.columns
        assert [column.name for column in columns] == names
        assert all(column.description and column.type for column in columns)
        lineage = metadata["dagster/column_lineage"].value.deps_by_column
        assert set(lineage) <= set(names)
        for source in (source for sources in lineage.values() for source in sources):
            above = source.asset_key.to_user_string()
            assert above in upstream, f"{asset} <- {above}"
            assert source.column_name in {column.name for column in columns_of(TABLES[above])}, f"{asset} <- {source}"


def test_column_lineage_goes_from_the_delivery_to_the_weights() -> None:
    chain = ["class_weights.inverse", "training_photos.country_id", "labeled_photos.country_id", "raw_photos.latitude"]
    for made, source in itertools.pairwise(chain):
        asset, name = made.split(".")
        (column,) = (column for column in columns_of(TABLES[asset]) if column.name == name)
        assert source in column.made_from, made


def test_row_counts_and_sizes_are_those_of_the_files(made_project: Project, events: Metadata) -> None:
    for asset in TABLES:
        for metadata in events[asset]:
            assert isinstance(metadata["dagster/row_count"].value, int), asset
    rows = [len(pd.read_parquet(made_project.layout.raw_photos(shard))) for shard in made_project.profile.shards()]
    assert [metadata["dagster/row_count"].value for metadata in events["raw_photos"]] == rows
    sizes = [made_project.layout.images(shard).stat().st_size for shard in made_project.profile.shards()]
    assert [metadata["dagster/size_bytes"].value for metadata in events["images"]] == sizes


def test_the_same_numbers_are_there_for_every_partition_so_that_they_plot(events: Metadata) -> None:
    for asset in ("raw_photos", "images", "labeled_photos", "embeddings", "class_weights", "region_anchors", "heads"):
        numbers = [
            {name for name, value in metadata.items() if isinstance(getattr(value, "value", None), int | float)}
            for metadata in events[asset]
        ]
        assert len(numbers) > 1
        assert all(names == numbers[0] for names in numbers), asset
        assert len(numbers[0]) >= 4, asset
    accuracies = [metadata["accuracy"].value for metadata in events["validation_report"]]
    assert all(0 <= accuracy <= 100 for accuracy in accuracies)


def test_pictures_and_maps_stand_in_the_events_and_are_small(events: Metadata) -> None:
    shown = {
        asset: [
            value.value
            for metadata in events[asset]
            for value in metadata.values()
            if isinstance(value, dg.MarkdownMetadataValue) and "data:image/" in (value.value or "")
        ]
        for asset in events
    }
    assert len(shown["images"]) == len(events["images"]), "a contact sheet of every shard"
    assert shown["class_distribution"], "the coverage map"
    assert shown["results"], "the map of errors"
    for pictures in shown.values():
        assert all(len(picture) <= LARGEST_PICTURE_BYTES for picture in pictures)


def test_a_contact_sheet_shows_usable_pictures_only(made_project: Project) -> None:
    shard = made_project.profile.shards()[0]
    manifest = pd.read_parquet(made_project.layout.images(shard))
    folder = made_project.layout.delivery(shard) / "images"
    sheet = contact_sheet(manifest, folder)
    assert sheet is not None
    assert Image.open(io.BytesIO(sheet)).size == (6 * SIDE, MOST_PICTURES // 6 * SIDE)
    assert contact_sheet(manifest.assign(status="missing"), folder) is None
    assert contact_sheet(manifest, folder / "not there") is None


def test_the_report_and_the_run_are_named_where_no_server_gives_them_out(made_project, events, monkeypatch):
    (results,) = events["results"]
    assert isinstance(results["report"], dg.PathMetadataValue)
    assert Path(str(results["report"].value)).is_file()
    for metadata in events["heads"]:
        assert "mlflow ui --backend-store-uri 'sqlite:///" in metadata["mlflow_run"].value
    home, report = made_project.layout.home, made_project.layout.results / "report.html"
    monkeypatch.setenv("GEOLOC_FILES_URL", "https://example.org/files/")
    assert file_link(home, report) == dg.MetadataValue.url("https://example.org/files/results/report.html")


def test_every_asset_links_to_the_code_of_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    for asset in defs.assets or ():
        assert isinstance(asset, dg.AssetsDefinition)
        (reference,) = asset.metadata_by_key[asset.key]["dagster/code_references"].code_references
        line = Path(reference.file_path).read_text().splitlines()[reference.line_number - 1]
        assert line.startswith(f"def {asset.key.to_user_string()}(")
    monkeypatch.setenv("GEOLOC_GIT_URL", "https://github.com/owner/name")
    monkeypatch.setenv("GEOLOC_GIT_REF", "v1")
    regions = build_asset("regions")
    (linked,) = regions.metadata_by_key[regions.key]["dagster/code_references"].code_references
    assert linked.url.startswith("https://github.com/owner/name/blob/v1/geoloc_core/line/steps/geography.py#L")


def test_a_run_records_how_its_vectors_came_to_be(made_project: Project, events: Metadata) -> None:
    """Backbones of one shard share one decode: the first's run makes the vectors of both, the second's finds them."""
    for key, event in zip(partitions(made_project.profile, "embeddings"), events["embeddings"], strict=True):
        name, shard = key.split("|")
        first = name == "tiny-clip"
        facts = {label: value.value for label, value in event.items() if isinstance(value, dg.MetadataValue)}
        rows = 24 if shard == "bench-a" else 40
        assert event["also"] == (f"tiny-vit|{shard}" if first else "")
        assert (facts["dagster/row_count"], facts["vectors"] + facts["without_vector"]) == (rows, rows)
        assert facts["embedded_now"] == (facts["vectors"] if first else 0)
        assert facts["kept"] == rows - facts["embedded_now"]
        assert facts["decoded_together"] == "tiny-clip, tiny-vit"
        assert facts["images_per_second"] > 0
        assert (facts["device"].split(":")[0], facts["decode"], facts["dtype"]) == ("cpu", "exact", "float32")
        assert facts["checkpoint"]["weights_sha256"] == facts["weights_sha256"]
        assert facts["failures"].startswith("| failures | count |")
