"""Repairs: validity, the antimeridian in every form that files have it, the poles; and the report of each."""

import geopandas as gpd
import numpy as np
import pytest
import shapely

from geoloc_core.geography.repair import cut_at_antimeridian, repair_geometries
from geoloc_core.geography.sphere import polygon_moments

SPLIT = shapely.MultiPolygon([shapely.box(178, -20, 180, -10), shapely.box(-180, -20, -177, -10)])


def repaired(*shapes: shapely.Geometry | None) -> tuple[gpd.GeoDataFrame, list[tuple[str, str]]]:
    frame = gpd.GeoDataFrame({"region_id": [f"R{i}" for i in range(len(shapes))]}, geometry=list(shapes), crs=4326)
    rows, report = repair_geometries(frame, "country")
    assert rows.geometry.is_valid.all()
    assert (np.abs(rows.geometry.bounds.to_numpy()) <= [180, 90, 180, 90]).all()
    return rows, [(repair.region_id, repair.what) for repair in report]


@pytest.mark.parametrize(
    "shape",
    [
        shapely.box(178, -20, 183, -10),  # longitudes beyond 180
        shapely.box(-182, -20, -177, -10),
        shapely.box(178 - 360, -20, 183 - 360, -10),
        shapely.Polygon([(178, -20), (-177, -20), (-177, -10), (178, -10)]),  # a jump
        shapely.Polygon([(178, -20), (178, -10), (-177, -10), (-177, -20)]),
        SPLIT,
    ],
)
def test_the_antimeridian_in_every_form(shape: shapely.Geometry) -> None:
    rows, report = repaired(shape)
    assert shapely.equals(rows.geometry[0], SPLIT)
    assert report == ([] if shape is SPLIT else [("R0", "cut at the antimeridian")])


def test_holes_travel_with_their_shell() -> None:
    shell, hole = [(178, -20), (-177, -20), (-177, -10), (178, -10)], [(179, -15), (-179, -15), (-179, -14), (179, -14)]
    cut = cut_at_antimeridian(shapely.Polygon(shell, [hole]))
    assert cut.area == pytest.approx(50 - 2)
    assert not shapely.intersects_xy(cut, [179.5, -179.5], [-14.5, -14.5]).any()


def test_a_ring_around_the_pole_is_closed_over_it() -> None:
    longitude = np.linspace(-170, 170, 35)
    ring = np.stack([longitude, np.full(35, -70.0)], axis=1)  # as drawn: not closed along the antimeridian
    rows, report = repaired(shapely.Polygon(ring))
    assert report[0] == ("R0", "cut at the antimeridian")
    area, _ = polygon_moments(np.asarray(rows.geometry.values))
    assert area[0] == pytest.approx(2 * np.pi * (1 - np.sin(np.radians(70))), rel=1e-9)


def test_what_is_drawn_along_the_end_of_the_map_is_left_alone() -> None:
    antarctica = shapely.Polygon([(-180, -70), (180, -70), (180, -90), (-180, -90)])
    rows, report = repaired(antarctica, shapely.box(-180, -90, 180, 90))
    assert report == []
    assert shapely.equals(rows.geometry[0], antarctica)


def test_rounding_over_the_edge_is_no_repair_but_more_is() -> None:
    rows, report = repaired(shapely.box(170, 0, 180 + 1e-9, 1), shapely.box(0, 80, 1, 91))
    assert report == [("R1", "clipped to the globe")]
    assert rows.geometry[0].bounds[2] == 180.0


def test_invalid_rings_are_repaired_and_what_has_no_area_is_left_out() -> None:
    bow_tie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    mixed = shapely.GeometryCollection([shapely.box(0, 0, 1, 1), shapely.LineString([(5, 5), (6, 6)])])
    flat = shapely.Polygon([(0, 0), (1, 1), (0, 0)])
    high = shapely.Polygon([(0, 0, 7), (1, 0, 7), (1, 1, 7)])
    rows, report = repaired(mixed, None, flat, shapely.Point(1, 1), high, bow_tie)
    assert rows["region_id"].tolist() == ["R0", "R4", "R5"]
    assert rows.geometry[0].geom_type == "Polygon"
    assert not rows.geometry.has_z.any()
    assert rows.geometry[2].area == pytest.approx(2.0)
    assert ("R5", "invalid ring repaired") in report
    assert ("R0", "lines and points left out") in report
    assert {region for region, what in report if what == "left out: no area"} == {"R1", "R2", "R3"}
