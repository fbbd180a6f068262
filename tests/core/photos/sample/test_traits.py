import numpy as np
import pytest

from geoloc_core.photos.sample.climate import PLANTS, climate, plants_of
from geoloc_core.photos.sample.palette import hsv, mix, shade
from geoloc_core.photos.sample.places import Place
from geoloc_core.photos.sample.randomness import stream
from geoloc_core.photos.sample.style import choose
from geoloc_core.photos.sample.traits import (
    COUNTRY_SHARE,
    FIELD_SHARE,
    PHOTO_SHARE,
    SUBDIVISION_SHARE,
    Look,
)
from geoloc_core.photos.sample.weather import draw_weather

CALM = np.zeros(3)


def test_colours_mix_and_shade():
    assert hsv(120, 1, 1) == (0, 255, 0)
    assert hsv(-240, 2, 1) == (0, 255, 0)
    assert mix((0, 0, 0), (100, 200, 50), 0.25) == (25, 50, 12)
    assert shade((200, 100, 50), 1.5) == (255, 150, 75)


def test_climate_knows_the_world():
    def at(latitude, longitude):
        return climate(latitude, longitude, CALM)

    cairo, london, singapore, reykjavik = at(30, 31), at(51.5, 0), at(1.3, 103.8), at(64, -22)
    assert cairo[1] > 0.7 > 0.3 > london[1]
    assert singapore[0] > cairo[0] > london[0] > reykjavik[0]
    zermatt, amsterdam = at(46, 7.7), at(52.4, 4.9)
    assert zermatt[2] > 0.8 > 0.4 > amsterdam[2]
    # The date line is no border: Fiji's two sides have one climate.
    assert at(-17, 179.99) == pytest.approx(at(-17, -179.99), abs=1e-3)


def test_plants_grow_where_it_suits_them():
    nobody_minds = dict.fromkeys(PLANTS, 0.0)
    rng = np.random.default_rng(0)
    assert plants_of(nobody_minds, 0.25, 0.15, rng)[0] in ("conifer", "birch")
    assert plants_of(nobody_minds, 0.97, 0.25, rng)[0] in ("palm", "bamboo")
    assert plants_of(nobody_minds, 0.8, 0.95, rng)[0] == "cactus"


def test_neighbouring_regions_look_alike():
    look = Look(3)
    rng = np.random.default_rng(5)
    latitude, longitude = rng.uniform(-55, 65, 300), rng.uniform(-180, 180, 300)
    here = np.array([look.field(a, b) for a, b in zip(latitude, longitude, strict=True)])
    near = np.array([look.field(a + 2, b) for a, b in zip(latitude, longitude, strict=True)])
    far = np.array([look.field(a - 60 * np.sign(a), b + 100) for a, b in zip(latitude, longitude, strict=True)])
    assert here.std() == pytest.approx(1.0, abs=0.1)
    # 2 degrees are 222 km; a Gaussian kernel of 1,500 km gives exp(-0.011) = 0.989.
    assert np.corrcoef(here.ravel(), near.ravel())[0, 1] == pytest.approx(0.989, abs=0.006)
    assert abs(np.corrcoef(here.ravel(), far.ravel())[0, 1]) < 0.1


def test_style_is_made_of_four_shares():
    assert pytest.approx(1.0) == FIELD_SHARE + COUNTRY_SHARE + SUBDIVISION_SHARE + PHOTO_SHARE


def test_a_country_keeps_its_style_and_differs_from_others():
    look = Look(3)

    def grass(country, subdivision, number):
        place = Place(48.0, 9.0, country, subdivision, "Europe", "somebody", "land")
        return look.traits(place, None, stream("grass", number)).grass

    same = np.array([grass("DEU", "DE-BW", number) for number in range(40)], dtype=float)
    other_part = np.array([grass("DEU", "DE-BY", number) for number in range(40)], dtype=float)
    elsewhere = np.array([grass(f"C{number:02d}", "x", number) for number in range(40)], dtype=float)
    assert 0 < same.std(axis=0).max() < 0.6 * elsewhere.std(axis=0).max()
    assert np.abs(same.mean(axis=0) - other_part.mean(axis=0)).max() > 1.0


def test_continents_lean():
    def of(continent, what):
        return [getattr(choose(1, f"X{number}", continent, np.zeros(30)), what) for number in range(200)]

    assert "pagoda" in of("Asia", "landmark")
    assert of("Europe", "landmark").count("pagoda") <= 1
    american = of("North America", "marking")
    assert sum(marking.startswith("yellow") for marking in american) > 150


def test_snow_lies_where_it_is_cold():
    def snowy(temperature):
        return np.mean([draw_weather(temperature, 0.2, stream("snow", number)).snow for number in range(400)])

    assert snowy(0.9) == 0
    assert 0.05 < snowy(0.2) < 0.25
