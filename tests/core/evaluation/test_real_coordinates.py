"""On real coordinates: baselines that others have measured, and what the point of a region is worth.

The figures in brackets were computed by other means in the research notes, sections 2.4 and issue "Learning and evaluation".
"""

import numpy as np
import pandas as pd
import pytest

from geoloc_core.answers.decide import decider, mass_of_cells, photo_cells
from geoloc_core.evaluation.baselines import class_prior_predictions, constant_point_predictions, perfect_predictions
from geoloc_core.evaluation.metrics import score
from geoloc_core.evaluation.predictions import predictions_frame
from geoloc_core.geography.anchors import polygon_centroids
from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.geography.locate import RegionLocator


@pytest.fixture(scope="module")
def world(shared_data):
    """Training photos, IM2GPS, and the centroids of all countries."""
    boundaries = load_boundaries()
    locator = RegionLocator(boundaries)
    ids = np.append(boundaries.countries["region_id"].to_numpy(dtype=object), "")

    def labelled(name: str) -> pd.DataFrame:
        rows = pd.read_csv(shared_data / "benchmarks" / name)
        found = locator.locate(longitude=rows["LON"].to_numpy(), latitude=rows["LAT"].to_numpy())
        return pd.DataFrame(
            {
                "photo_id": [str(number) for number in range(len(rows))],
                "author_id": rows["AUTHOR"].astype(str) if "AUTHOR" in rows else "",
                "latitude": rows["LAT"],
                "longitude": rows["LON"],
                "country_id": ids[found.index["country"]],
                "split": "train",
            }
        )

    training = labelled("mp16_like_coordinates_100k.csv")
    return training, labelled("im2gps_places365.csv"), polygon_centroids(boundaries.countries)


def test_the_class_prior_of_mp16(world):
    training, im2gps, centroids = world
    on_itself = score(class_prior_predictions(training, training, centroids, continents={}))
    measured = [on_itself[name] for name in ("accuracy", "top5", "top10")]
    assert measured == pytest.approx([30.1, 55.2, 70.0], abs=0.6)
    on_im2gps = score(class_prior_predictions(training, im2gps, centroids, continents={}))
    assert on_im2gps["n"] == 237
    measured = [on_im2gps[name] for name in ("accuracy", "top5", "top10")]
    assert measured == pytest.approx([23.6, 42.2, 48.9], abs=0.05)


def test_one_point_for_all_of_im2gps(world):
    training, im2gps, _ = world
    scores = score(constant_point_predictions(training, im2gps, continents={}))
    # The notes have Germany's centroid at 14.3 within 750 km and 38.0 within 2500 km; this point is fitted to training photos.
    assert scores["within_750"] >= 13.0
    assert scores["within_2500"] >= 37.0
    assert scores["geoscore"] >= 1_090


def test_what_the_point_is_worth_to_a_perfect_classifier(world):
    training, im2gps, centroids = world
    at_centroid = score(perfect_predictions(im2gps, centroids, continents={}))
    assert [at_centroid[f"within_{r}"] for r in (200, 750)] == pytest.approx([27.4, 59.9], abs=1.5)

    photos = training[training["country_id"] != ""].rename(columns={"country_id": "region_id"})
    classes = sorted(photos["region_id"].unique())
    places = centroids.set_index("region_id").loc[classes]
    certain = (im2gps["country_id"].to_numpy()[:, None] == np.array(classes)[None, :]).astype(float)
    status = np.where(certain.any(axis=1), "ok", "no_region")
    anchors = places[["latitude", "longitude"]].to_numpy()
    mass = mass_of_cells(photo_cells(photos), classes, anchors)
    points = decider(anchors, "expected_geoscore", mass).points(certain)
    scores = score(predictions_frame(im2gps, certain, classes, points, continents={}, status=list(status)))
    assert scores["within_200"] >= 41.0
    assert scores["within_750"] >= 69.0
    assert scores["within_2500"] >= 87.0
    assert scores["geoscore"] > at_centroid["geoscore"] + 200
