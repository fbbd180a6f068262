"""Backbones of one shard share one decode, and each keeps a run and a record of its own."""

import dagster as dg

from geoloc_core.line.lineage import Lineage, Target
from geoloc_core.line.project import Project
from geoloc_dagster.refresh import open_instance
from geoloc_dagster.sharing import DECODED_WITH_TAG, decoded_with, sharing_tags

SHARDS = ("sample-00", "sample-01", "sample-02", "bench-a")


def test_a_run_tells_how_its_vectors_came_to_be(made_project: Project):
    with open_instance(made_project.layout) as instance:
        for name in ("tiny-clip", "tiny-vit"):
            for shard in SHARDS:
                records = instance.fetch_materializations(
                    dg.AssetRecordsFilter(dg.AssetKey("embeddings"), asset_partitions=[f"{name}|{shard}"]), limit=5
                ).records
                assert len(records) == 1
                run = instance.get_run_by_id(records[0].run_id)
                assert run is not None
                # The first backbone's run makes the vectors of both; the second's finds them there.
                assert decoded_with(run.tags) == (["tiny-vit"] if name == "tiny-clip" else [])
                found = records[0].asset_materialization
                assert found is not None
                told = {key: value.value for key, value in found.metadata.items()}
                rows = 24 if shard == "bench-a" else 40
                assert (told["dagster/row_count"], told["vectors"] + told["without_vector"]) == (rows, rows)
                assert told["embedded_now"] == (told["vectors"] if name == "tiny-clip" else 0)
                assert told["kept"] == rows - told["embedded_now"]
                assert told["decoded_together"] == "tiny-clip, tiny-vit"
                assert told["images_per_second"] > 0
                assert (told["device"].split(":")[0], told["decode"], told["dtype"]) == ("cpu", "exact", "float32")
                assert told["checkpoint"]["weights_sha256"] == told["weights_sha256"]
                assert told["failures"].startswith("| reason | count |")


def test_only_what_is_out_of_date_is_made_with_another(made_project: Project):
    lineage = Lineage(made_project)
    target = Target("embeddings", "tiny-clip|sample-01")
    asked: list[Target] = []

    def wanted(other: Target) -> bool:
        asked.append(other)
        return False

    assert sharing_tags(lineage, target, wanted) == {}
    assert asked == [Target("embeddings", "tiny-vit|sample-01")]
    assert sharing_tags(lineage, target, lambda other: True) == {DECODED_WITH_TAG: "tiny-vit"}
    assert sharing_tags(lineage, Target("images", "sample-01"), lambda other: True) == {}
