"""What a person sees in the Dagster UI, held on real definitions and on the events of a real project."""

import io
import itertools
import json
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from geoloc_dagster.columns import COLUMNS, CONTRACTS
from PIL import Image

from geoloc_core.line.artifacts import ASSETS, partitions
from geoloc_core.line.project import Project
from geoloc_core.photos.contact_sheet import MOST_PICTURES, SIDE, contact_sheet
from geoloc_dagster.build import build_asset
from geoloc_dagster.definitions import defs
from geoloc_dagster.metadata import LARGEST_PICTURE_BYTES, file_link
from geoloc_dagster.op_tags import GPU
from geoloc_dagster.refresh import open_instance

# Kinds that the UI of this version draws an icon for.
WITH_ICON = {"duckdb", "pytorch", "huggingface", "mlflow", "pandas", "pandera", "parquet", "file", "markdown", "numpy"}
TABLES = sorted(COLUMNS)


@pytest.fixture(scope="module")
def told(made_project: Project) -> dict[str, list[dict[str, dg.MetadataValue]]]:
    """The metadata of every partition's last materialization, by asset."""
    found: dict[str, list[dict[str, dg.MetadataValue]]] = {asset: [] for asset in ASSETS}
    with open_instance(made_project.layout) as instance:
        for asset in ASSETS:
            for partition in partitions(made_project.profile, asset):
                records = instance.fetch_materializations(
                    dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[partition] if partition else None), 1
                ).records
                event = records[0].asset_materialization
                assert event is not None, f"{asset}[{partition}]"
                found[asset].append(dict(event.metadata))
    return found


def test_every_asset_is_described_and_drawn_with_icons() -> None:
    for spec in defs.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.kinds <= WITH_ICON, name
        assert spec.description, name
    for check in defs.asset_checks or ():
        assert all(check_spec.description for check_spec in check.check_specs)
    for sensor in defs.sensors or ():
        assert isinstance(sensor, dg.SensorDefinition)
        assert sensor.description, sensor.name


@pytest.mark.parametrize("asset", TABLES)
def test_every_column_of_every_table_is_explained(told: dict[str, Any], asset: str) -> None:
    for metadata in told[asset]:
        schema = metadata["dagster/column_schema"].value
        assert [column.name for column in schema.columns] == list(COLUMNS[asset]), asset
        for column in schema.columns:
            assert column.description == COLUMNS[asset][column.name].description, f"{asset}.{column.name}"
            assert column.type, f"{asset}.{column.name}"
    if asset in CONTRACTS:
        rules = [rule for column in schema.columns for rule in column.constraints.other]
        assert rules or asset == "images", asset


@pytest.mark.parametrize("asset", [asset for asset in TABLES if asset not in {"regions", "raw_photos"}])
def test_column_lineage_leads_to_columns_that_are_there(told: dict[str, Any], asset: str) -> None:
    upstream = {
        dep.asset_key.to_user_string()
        for spec in defs.resolve_all_asset_specs()
        if spec.key.to_user_string() == asset
        for dep in spec.deps
    }
    for metadata in told[asset]:
        lineage = metadata["dagster/column_lineage"].value.deps_by_column
        assert set(lineage) <= set(COLUMNS[asset])
        for column, sources in lineage.items():
            for source in sources:
                name = source.asset_key.to_user_string()
                assert name in upstream, f"{asset}.{column} <- {name}"
                assert source.column_name in COLUMNS[name], f"{asset}.{column} <- {name}.{source.column_name}"


def test_column_lineage_goes_from_the_delivery_to_the_weights() -> None:
    chain = ["class_weights.inverse", "training_photos.country_id", "labeled_photos.country_id", "raw_photos.latitude"]
    for made, source in itertools.pairwise(chain):
        asset, column = made.split(".")
        assert source in COLUMNS[asset][column].made_from, made


def test_row_counts_and_sizes_are_those_of_the_files(made_project: Project, told: dict[str, Any]) -> None:
    for asset in TABLES:
        for metadata in told[asset]:
            assert isinstance(metadata["dagster/row_count"].value, int), asset
    rows = [len(pd.read_parquet(made_project.layout.raw_photos(shard))) for shard in made_project.profile.shards()]
    assert [metadata["dagster/row_count"].value for metadata in told["raw_photos"]] == rows
    sizes = [made_project.layout.images(shard).stat().st_size for shard in made_project.profile.shards()]
    assert [metadata["dagster/size_bytes"].value for metadata in told["images"]] == sizes


def test_the_same_numbers_are_there_for_every_partition_so_that_they_plot(told: dict[str, Any]) -> None:
    for asset in ("raw_photos", "images", "labeled_photos", "embeddings", "class_weights", "region_anchors", "heads"):
        numbers = [
            {name for name, value in metadata.items() if isinstance(value.value, int | float)}
            for metadata in told[asset]
        ]
        assert len(numbers) > 1
        assert all(names == numbers[0] for names in numbers), asset
        assert len(numbers[0]) >= 4, asset
    accuracies = [metadata["accuracy"].value for metadata in told["validation_report"]]
    assert all(0 <= accuracy <= 100 for accuracy in accuracies)


def test_pictures_and_maps_stand_in_the_events_and_are_small(told: dict[str, Any]) -> None:
    shown = {
        asset: [
            value.value
            for metadata in told[asset]
            for value in metadata.values()
            if isinstance(value, dg.MarkdownMetadataValue) and "data:image/" in (value.value or "")
        ]
        for asset in ASSETS
    }
    assert len(shown["images"]) == len(told["images"]), "a contact sheet of every shard"
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


def test_the_report_and_the_run_are_named_where_no_server_gives_them_out(
    made_project: Project, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (results,) = told["results"]
    assert isinstance(results["report"], dg.PathMetadataValue)
    assert Path(str(results["report"].value)).is_file()
    for metadata in told["heads"]:
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


def test_gpu_work_is_tagged_for_every_engine() -> None:
    tagged = {}
    for asset in defs.assets or ():
        assert isinstance(asset, dg.AssetsDefinition)
        tagged[asset.key.to_user_string()] = asset.op.tags
    assert {name for name, tags in tagged.items() if "dagster-ray/config" in tags} == {"embeddings", "heads"}
    for name in ("embeddings", "heads"):
        for engine, wanted in GPU.items():
            got = tagged[name][engine]
            assert (json.loads(got) if isinstance(got, str) and got.startswith("{") else got) == wanted
