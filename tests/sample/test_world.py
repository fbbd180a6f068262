from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import load_boundaries
from geoloc_core.geography.locate import RegionLocator
from geoloc_sample.scenery import draw_traits
from geoloc_sample.world import HOME_SHARE, LOCAL_SHARE, MP16_SHARES, SEA_SHARE, Place, World, stream

PHOTOS = 3000


@pytest.fixture(scope="module")
def world():
    return World(20240, load_boundaries())


@pytest.fixture(scope="module")
def places(world):
    authors = world.authors("training", 360)
    return [world.place(authors, stream("test", number)) for number in range(PHOTOS)]


def test_places_lie_in_their_cells_or_at_sea(places):
    boundaries = load_boundaries()
    found = RegionLocator(boundaries).locate(
        longitude=np.array([place.longitude for place in places]),
        latitude=np.array([place.latitude for place in places]),
    )
    setting = np.array([place.setting for place in places])
    for name, quality in (("land", "inside"), ("coast", "near"), ("ocean", "none")):
        assert set(found.quality[setting == name].tolist()) == {quality}
    assert found.distance_km[setting == "coast"].max() < 17
    ids = boundaries.countries["region_id"].to_numpy(), boundaries.subdivisions["region_id"].to_numpy()
    located = zip(ids[0][found.country_index], ids[1][found.subdivision_index], strict=True)
    assert all(here == place.cells for here, place in zip(located, places, strict=True) if place.setting == "land")
    assert np.mean(setting != "land") == pytest.approx(SEA_SHARE, abs=0.008)


def test_countries_have_the_shares_of_mp16_and_several_cells(places, world):
    cells = [place.cells for place in places if place.setting == "land"]
    usa = [cell for country, cell in cells if country == "USA"]
    assert len(usa) / len(cells) == pytest.approx(0.30, abs=0.03)
    assert len(set(usa)) == 17
    assert len({country for country, _ in cells}) >= 75
    assert len(MP16_SHARES) == len(world.shares) == 80
    assert sum(world.shares.values()) == pytest.approx(world.weights.sum()) == pytest.approx(1.0)
    assert world.shares["USA"] / world.shares["GBR"] == pytest.approx(30.1 / 9.9)
    assert world.shares["NAM"] / world.shares["USA"] == pytest.approx(0.15 / 30.1)


def test_authors_have_several_photos_and_most_are_from_home(places, world):
    authors = world.authors("training", 360)
    home = {author_id: world.cells[cell] for residents in authors.values() for author_id, cell in residents}
    assert len(home) == sum(map(len, authors.values()))
    land = [place for place in places if place.setting == "land"]
    residents = [place for place in land if home[place.author_id].country_id == place.cells[0]]
    # Those who travel may still travel within the country that they live in.
    assert LOCAL_SHARE < len(residents) / len(land) < LOCAL_SHARE + 0.12
    assert np.mean([home[place.author_id].cell_id == place.cells[1] for place in residents]) > HOME_SHARE
    assert PHOTOS / len({place.author_id for place in places}) > 5
    assert home.keys().isdisjoint(
        author_id for others in world.authors("bench", 360).values() for author_id, _ in others
    )


def test_boundaries_without_a_photographed_country_are_refused():
    boundaries = load_boundaries()
    other = replace(boundaries, name="nowhere", countries=boundaries.countries.query("region_id == 'ATA'"))
    with pytest.raises(InputError, match="'nowhere' has no country"):
        World(1, other)


def test_looks_belong_to_cells_and_climate_to_latitude():
    def grass(country: str, cell: str, number: int) -> tuple[int, ...]:
        place = Place(48.0, 9.0, (country, cell), "somebody", "land")
        return draw_traits(3, place, stream("grass", number)).colour["grass"]

    one = np.array([grass("DEU", "DE-BW", number) for number in range(40)])
    other = np.array([grass("DEU", "DE-BY", number) for number in range(40)])
    elsewhere = np.array([grass(f"C{number:02d}", "x", number) for number in range(40)])
    assert 0 < one.std(axis=0).max() < 0.6 * elsewhere.std(axis=0).max()
    assert np.abs(one.mean(axis=0) - other.mean(axis=0)).max() > 5

    def plants(latitude: float) -> set[str]:
        places = [Place(latitude, 9.0, (f"C{number}", "x"), "somebody", "land") for number in range(60)]
        return {draw_traits(3, place, stream("plant", place.cells[0])).plant for place in places}

    assert "palm" in plants(3.0) - plants(62.0)
    assert "conifer" in plants(62.0) - plants(3.0)
