from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.photos.sample.buildings import draw_house, draw_landmark
from geoloc_core.photos.sample.canvas import Canvas
from geoloc_core.photos.sample.climate import PLANTS
from geoloc_core.photos.sample.land import draw_road
from geoloc_core.photos.sample.places import Place
from geoloc_core.photos.sample.plants import draw_plant
from geoloc_core.photos.sample.randomness import stream
from geoloc_core.photos.sample.scene import COAST, KINDS, OCEAN, draw_photo
from geoloc_core.photos.sample.style import LANDMARKS, MARKINGS, ROOF_FORMS
from geoloc_core.photos.sample.traits import Look
from geoloc_core.photos.sample.weather import draw_weather

PLACE = Place(48.0, 9.0, "DEU", "DE-BW", "Europe", "somebody", "land")
TRAITS = Look(3).traits(PLACE, None, stream("traits"))
WEATHER = replace(draw_weather(0.6, 0.2, stream("weather")), snow=False, leaf_turn=0.0)


def test_every_kind_of_scene_is_drawn_at_the_size_asked_for():
    seen = set()
    for number in range(120):
        size = ((160, 120), (90, 160))[number % 2]
        image, kind = draw_photo(TRAITS, "land", size, stream("scene", number))
        assert image.size == size
        assert image.mode == "RGB"
        assert np.asarray(image).std() > 8, "a picture shows something"
        seen.add(kind.name)
    assert seen == {kind.name for kind in KINDS}
    assert sum(kind.frequency for kind in KINDS) == pytest.approx(1.0)


def test_settings_at_sea_have_scenes_of_their_own():
    assert draw_photo(TRAITS, "coast", (96, 72), stream("c"))[1] is COAST
    assert draw_photo(TRAITS, "ocean", (96, 72), stream("o"))[1] is OCEAN


def test_equal_streams_draw_equal_pictures():
    first, again, other = (draw_photo(TRAITS, "land", (96, 72), stream("d", n))[0].tobytes() for n in (1, 1, 2))
    assert first == again != other


def _drawn(draw) -> bytes:
    canvas = Canvas(200, 150, stream("canvas"), (200, 210, 220), 0.5)
    draw(canvas)
    return canvas.image.tobytes()


def test_each_trait_has_a_shape_of_its_own():
    plants = [
        _drawn(lambda c, k=kind: draw_plant(c, replace(TRAITS, plants=(k, k, k)), WEATHER, 100, 140, 120, 0))
        for kind in PLANTS
    ]
    roofs = [
        _drawn(lambda c, f=form: draw_house(c, replace(TRAITS, roof_form=f), WEATHER, 40, 140, 90, 2, 0))
        for form in ROOF_FORMS
    ]
    landmarks = [
        _drawn(lambda c, k=kind: draw_landmark(c, replace(TRAITS, landmark=k), 100, 140, 120, 0)) for kind in LANDMARKS
    ]
    roads = [
        _drawn(lambda c, m=marking: draw_road(c, replace(TRAITS, marking=m), WEATHER, 60, 100, 100))
        for marking in MARKINGS
    ]
    for shapes in (plants, roofs, landmarks, roads):
        assert len(set(shapes)) == len(shapes)
