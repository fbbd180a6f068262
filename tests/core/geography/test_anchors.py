"""Anchors on configurations whose answer is known, and against brute force."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from geoloc_core.errors import InputError
from geoloc_core.geography.anchors import ANCHOR_KINDS, photo_anchors, polygon_centroids, region_anchors
from geoloc_core.geography.boundaries import BoundarySet
from geoloc_core.geography.sphere import haversine_km, pairwise_haversine_km

Anchors = dict[str, tuple[float, float]]


def anchors(latitude: list[float] | np.ndarray, longitude: list[float] | np.ndarray) -> Anchors:
    return dict(photo_anchors(np.asarray(latitude, float), np.asarray(longitude, float)))


def scattered(seed: int, n: int, latitude: float, longitude: float, spread: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lon = longitude + rng.normal(0, spread, n) / np.cos(np.radians(latitude))
    return (latitude + rng.normal(0, spread, n)).clip(-89.9, 89.9), (lon + 180) % 360 - 180


def test_one_place_is_every_anchor() -> None:
    assert anchors([51.5] * 3, [-0.1] * 3) == dict.fromkeys(ANCHOR_KINDS[1:], (51.5, -0.1))


def test_two_photos_across_the_dateline() -> None:
    answer = anchors([-17.0, -17.0], [179.5, -179.5])
    assert abs(answer["mean"][1]) == pytest.approx(180.0)
    assert answer["mean"][0] == pytest.approx(-17.0, abs=0.01)
    assert abs(answer["medoid"][1]) == 179.5
    for kind in ANCHOR_KINDS[1:]:
        assert haversine_km(*answer[kind], -17, 180) < 60


@pytest.mark.parametrize("place", [(48.0, 2.0), (-17.0, 179.9), (66.0, -179.0), (89.0, 30.0), (-89.5, 0.0)])
@pytest.mark.parametrize("spread", [0.5, 3.0])
def test_medoid_is_brute_force(place: tuple[float, float], spread: float) -> None:
    latitude, longitude = scattered(5, 60, *place, spread)
    sums = pairwise_haversine_km(latitude, longitude, latitude, longitude).sum(axis=1)
    best = int(np.argmin(sums))
    assert anchors(latitude, longitude)["medoid"] == (latitude[best], longitude[best])


@pytest.mark.parametrize("place", [(48.0, 2.0), (-17.0, 179.9), (66.0, -179.0), (88.0, 30.0)])
@pytest.mark.parametrize("spread", [0.7, 2.5, 6.0])
def test_maximisers_beat_a_fine_grid(place: tuple[float, float], spread: float) -> None:
    latitude, longitude = scattered(7, 40, *place, spread)
    rng = np.random.default_rng(0)
    # Candidates: the photos, and a cloud of 20,000 points around random photos.
    pick = rng.integers(0, 40, 20_000)
    away = rng.normal(0, spread, (2, 20_000))
    grid_lat = np.concatenate([latitude, (latitude[pick] + away[0]).clip(-90, 90)])
    grid_lon = np.concatenate([longitude, longitude[pick] + away[1] / np.cos(np.radians(latitude[pick]))])
    distances = pairwise_haversine_km(grid_lat, grid_lon, latitude, longitude)
    answer = anchors(latitude, longitude)

    def reached(kind: str) -> np.ndarray:
        return haversine_km(*answer[kind], latitude, longitude)

    assert (reached("within200") <= 200).sum() >= (distances <= 200).sum(axis=1).max()
    assert (reached("within750") <= 750).sum() >= (distances <= 750).sum(axis=1).max()
    best_score = np.exp(-distances / 1492.7).mean(axis=1).max()
    assert np.exp(-reached("geoscore") / 1492.7).mean() >= best_score - 1e-4


def test_counts_weigh() -> None:
    # Ninety photos in one town, ten in another 3,000 km away: only the mean lets itself be drawn.
    answer = anchors([40.0] * 90 + [40.0] * 10, [0.0] * 90 + [35.0] * 10)
    for kind in ("medoid", "geoscore", "within200", "within750"):
        assert haversine_km(*answer[kind], 40.0, 0.0) < 2
    assert 200 < haversine_km(*answer["mean"], 40.0, 0.0) < 400


@pytest.mark.parametrize(("at_a", "longitude"), [(1262, 0.0), (1250, 3000.0)])
def test_the_scale_of_the_score_is_the_published_one(at_a: int, longitude: float) -> None:
    # Towns at 0, 3000 and 4000 km along the equator. The first scores better than the second where its photos are more
    # than the second's 1000 and exp(-1000 / 1492.7) = 0.5118 of the third's 500, that is more than 1255.9.
    degrees = np.repeat([0.0, 3000.0, 4000.0], [at_a, 1000, 500]) / 111.1949
    answer = anchors(np.zeros(len(degrees)), degrees)
    assert answer["geoscore"] == pytest.approx((0.0, longitude / 111.1949), abs=0.02)


def test_antipodal_photos_have_an_answer_and_order_does_not_matter() -> None:
    assert np.isfinite(list(anchors([10.0, -10.0], [20.0, -160.0]).values())).all()
    latitude, longitude = scattered(2, 200, 10.0, 100.0, 4.0)
    shuffled = np.random.default_rng(0).permutation(200)
    assert anchors(latitude, longitude) == anchors(latitude[shuffled], longitude[shuffled])


def test_many_photos_are_gathered_without_loss() -> None:
    # 30,000 photos of three towns: beyond what is compared pair by pair.
    towns = [(15000, (45, 5)), (9000, (45, 6.8)), (6000, (60, 30))]
    parts = [scattered(i, n, *town, 0.2) for i, (n, town) in enumerate(towns)]
    latitude, longitude = np.concatenate(parts, axis=1)
    answer = anchors(latitude, longitude)
    distances = haversine_km(*answer["within200"], latitude, longitude)
    assert (distances <= 200).sum() >= 23_950
    centre = int(np.argmin(pairwise_haversine_km(latitude[:500], longitude[:500], latitude, longitude).sum(axis=1)))
    near_centre = haversine_km(latitude[centre], longitude[centre], latitude, longitude).sum()
    assert haversine_km(*answer["medoid"], latitude, longitude).sum() <= near_centre * 1.0005
    assert answer["medoid"] in set(zip(latitude, longitude, strict=True))


def test_centroids(embedded: BoundarySet) -> None:
    answer = polygon_centroids(embedded.countries).set_index("region_id")
    assert len(answer) == 249
    # Published geographic centres, within what coastlines leave open.
    for region, latitude, longitude, slack in [
        ("NLD", 52.1, 5.3, 60),
        ("FJI", -17.5, 178.5, 40),
        ("RUS", 66.42, 94.25, 100),  # Lake Vivi
        ("POL", 52.1, 19.4, 20),
        ("AUS", -25.6, 134.4, 60),
        ("USA", 44.97, -103.77, 40),  # Belle Fourche, with Alaska and Hawaii
    ]:
        assert haversine_km(*answer.loc[region], latitude, longitude) < slack, region


def test_centroids_of_a_band_around_the_globe_and_of_no_polygon() -> None:
    cells = gpd.GeoDataFrame({"region_id": ["A", "B"]}, geometry=[shapely.box(-180, -10, 180, 10), None], crs=4326)
    centroids = polygon_centroids(cells)
    assert abs(centroids["latitude"][0]) <= 10
    assert centroids.loc[1, ["latitude", "longitude"]].isna().all()
    photos = pd.DataFrame({"region_id": ["B"], "latitude": [1.0], "longitude": [2.0]})
    anchors = region_anchors(photos, cells)
    expected = [("A", "centroid"), *(("B", kind) for kind in ANCHOR_KINDS[1:])]
    assert list(zip(anchors["region_id"], anchors["kind"], strict=True)) == expected


def test_region_anchors(embedded: BoundarySet) -> None:
    latitude, longitude = [52.0, 52.1, 52.3, -17.0, -16.8, 0.0], [4.9, 5.0, 5.2, 179.5, -179.9, 0.0]
    region_id = ["NLD"] * 3 + ["FJI"] * 2 + [""]
    photos = pd.DataFrame({"region_id": region_id, "latitude": latitude, "longitude": longitude})
    regions = embedded.countries[embedded.countries["region_id"].isin(["NLD", "FJI", "NAM"])]
    answer = region_anchors(photos, regions)
    assert answer.columns.tolist() == ["region_id", "kind", "latitude", "longitude", "n_photos"]
    kinds = answer.groupby("region_id")["kind"].agg(tuple)
    assert kinds["NLD"] == kinds["FJI"] == ANCHOR_KINDS
    assert kinds["NAM"] == ("centroid",)
    assert answer.groupby("region_id")["n_photos"].first().to_dict() == {"FJI": 2, "NAM": 0, "NLD": 3}
    fiji = answer[(answer["region_id"] == "FJI") & (answer["kind"] != "centroid")]
    assert (np.abs(fiji["longitude"]) > 179.4).all()


def test_an_unknown_region_is_named(embedded: BoundarySet) -> None:
    photos = pd.DataFrame({"region_id": ["QQQ"], "latitude": [1.0], "longitude": [1.0]})
    with pytest.raises(InputError, match="'QQQ'"):
        region_anchors(photos, embedded.countries)
