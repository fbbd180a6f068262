import numpy as np
import pytest

from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import BoundarySet, make_boundary_set
from geoloc_core.geography.locate import RegionLocator
from geoloc_core.photos.sample.places import (
    author_pool,
    build_atlas,
    draw_place,
    subdivisions_photographed,
)
from geoloc_core.photos.sample.randomness import stream
from geoloc_core.photos.sample.spec import TRAINING, SampleSpec

SPEC = SampleSpec()
PHOTOS = 3000


@pytest.fixture(scope="module")
def atlas(embedded):
    return build_atlas(SPEC, embedded)


@pytest.fixture(scope="module")
def pool(atlas):
    return author_pool(SPEC, atlas, TRAINING)


@pytest.fixture(scope="module")
def places(atlas, pool):
    return [draw_place(SPEC, atlas, pool, stream("test", number)) for number in range(PHOTOS)]


def test_places_on_land_lie_in_the_regions_that_they_name(places, embedded):
    land = [place for place in places if place.setting == "land"]
    found = RegionLocator(embedded).locate(
        longitude=np.array([place.longitude for place in land]), latitude=np.array([place.latitude for place in land])
    )
    assert set(found.quality.tolist()) == {"inside"}
    names = embedded.subdivisions["region_id"].to_numpy()[found.subdivision_index]
    assert names.tolist() == [place.subdivision_id for place in land]
    assert embedded.countries["region_id"].to_numpy()[found.country_index].tolist() == [p.country_id for p in land]


def test_places_at_sea_are_few_and_some_have_a_coast_in_sight(places, embedded):
    sea = [place for place in places if place.setting != "land"]
    assert len(sea) / PHOTOS == pytest.approx(SPEC.sea_share, abs=0.008)
    found = RegionLocator(embedded).locate(
        longitude=np.array([place.longitude for place in sea]), latitude=np.array([place.latitude for place in sea])
    )
    setting = np.array([place.setting for place in sea])
    assert set(found.quality[setting == "coast"].tolist()) == {"near"}
    assert found.distance_km[setting == "coast"].max() < 20
    assert set(found.quality[setting == "ocean"].tolist()) == {"none"}


def test_countries_have_the_shares_of_mp16_and_several_subdivisions(places, atlas):
    land = [place for place in places if place.setting == "land"]
    of_usa = [place for place in land if place.country_id == "USA"]
    assert len(of_usa) / len(land) == pytest.approx(0.30, abs=0.03)
    assert len({place.subdivision_id for place in of_usa}) == subdivisions_photographed(0.30) == 17
    assert len({place.country_id for place in land}) >= 75
    assert "NAM" in {country.region_id for country in atlas.countries}


def test_authors_have_several_photos_and_most_are_from_home(places, pool, atlas):
    home = {author.author_id: atlas.countries[author.country] for author in pool.authors}
    assert len(home) == len(pool.authors)
    land = [place for place in places if place.setting == "land"]
    local = np.mean([home[place.author_id].region_id == place.country_id for place in land])
    # Those who travel may still travel within the country that they live in.
    assert SPEC.local_share < local < SPEC.local_share + 0.12
    assert PHOTOS / len({place.author_id for place in places}) > 5
    at_home = {author.author_id: atlas.countries[author.country].subdivisions[author.home] for author in pool.authors}
    of_locals = [place for place in land if home[place.author_id].region_id == place.country_id]
    assert np.mean([at_home[place.author_id].region_id == place.subdivision_id for place in of_locals]) > 0.7


def test_roles_have_different_authors(atlas, pool):
    ids = {author.author_id for author in pool.authors}
    for benchmark in SPEC.benchmarks:
        others = {author.author_id for author in author_pool(SPEC, atlas, benchmark).authors}
        assert others.isdisjoint(ids)
        ids |= others


def test_countries_without_subdivisions_are_photographed_as_a_whole(two_countries: BoundarySet):
    alone = make_boundary_set("alone", "", two_countries.countries, two_countries.subdivisions.iloc[:0])
    atlas = build_atlas(SPEC, alone)
    pool = author_pool(SPEC, atlas, TRAINING)
    places = [draw_place(SPEC, atlas, pool, stream("alone", number)) for number in range(50)]
    land = [place for place in places if place.setting == "land"]
    assert {place.subdivision_id for place in land} == {"USA", "ESP"}


def test_boundaries_without_a_photographed_country_are_refused(two_countries: BoundarySet):
    countries = two_countries.countries.replace({"region_id": {"USA": "AAA", "ESP": "BBB"}})
    nowhere = make_boundary_set("nowhere", "", countries, two_countries.subdivisions.iloc[:0])
    with pytest.raises(InputError, match="'nowhere' holds no country"):
        build_atlas(SPEC, nowhere)
