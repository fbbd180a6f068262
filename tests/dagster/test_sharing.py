"""Backbones of one shard share one decode, and each has a run and a record of its own."""

import dagster as dg

from geoloc_core.line.project import Project
from geoloc_dagster.build import ALSO_TAG
from geoloc_dagster.refresh import open_instance


def test_a_run_records_how_its_vectors_came_to_be(made_project: Project) -> None:
    with open_instance(made_project.layout) as instance:
        for shard in made_project.profile.shards():
            for name in ("tiny-clip", "tiny-vit"):
                records = instance.fetch_materializations(
                    dg.AssetRecordsFilter(dg.AssetKey("embeddings"), asset_partitions=[f"{name}|{shard}"]), limit=5
                ).records
                assert len(records) == 1
                run = instance.get_run_by_id(records[0].run_id)
                event = records[0].asset_materialization
                assert run is not None
                assert event is not None
                # The first backbone's run makes the vectors of both; the second's finds them there.
                first = name == "tiny-clip"
                assert run.tags.get(ALSO_TAG, "") == (f"tiny-vit|{shard}" if first else "")
                facts = {key: value.value for key, value in event.metadata.items()}
                rows = 24 if shard == "bench-a" else 40
                assert (facts["dagster/row_count"], facts["vectors"] + facts["without_vector"]) == (rows, rows)
                assert facts["embedded_now"] == (facts["vectors"] if first else 0)
                assert facts["kept"] == rows - facts["embedded_now"]
                assert facts["decoded_together"] == "tiny-clip, tiny-vit"
                assert facts["images_per_second"] > 0
                assert (facts["device"].split(":")[0], facts["decode"], facts["dtype"]) == ("cpu", "exact", "float32")
                assert facts["checkpoint"]["weights_sha256"] == facts["weights_sha256"]
                assert facts["failures"].startswith("| failures | count |")
