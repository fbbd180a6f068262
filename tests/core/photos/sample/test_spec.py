import pytest

from geoloc_core.errors import ProfileError
from geoloc_core.photos.sample.randomness import digits, hexadecimals, stream
from geoloc_core.photos.sample.shares import MP16_SHARES, SMALLEST_SHARE, country_shares
from geoloc_core.photos.sample.spec import SampleSpec, photos_in, shard_names


def test_shards_are_numbered_and_benchmarks_keep_their_names():
    spec = SampleSpec()
    assert shard_names(spec) == ["sample-00", "sample-01", "sample-02", "sample-03"]
    assert [photos_in(spec, name) for name in ("sample-03", "sample-im2gps", "sample-im2gps3k")] == [600, 120, 360]
    with pytest.raises(ProfileError, match="no delivery 'sample-04'"):
        photos_in(spec, "sample-04")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"shards": 0}, "shards is 0"),
        ({"shards": 101}, "at most 100"),
        ({"photos_per_shard": 0}, "photos_per_shard is 0"),
        ({"image_size": 20}, "image_size is 20"),
        ({"image_size": 5000}, "image_size is 5000"),
        ({"sea_share": 1.5}, "sea_share is 1.5"),
        ({"broken_share": 0.4, "bad_coordinates_share": 0.2}, "must not exceed 0.5"),
        ({"benchmarks": {"b": 0}}, "'b' has 0 photos"),
        ({"benchmarks": {"sample-01": 5}}, "has the name of a shard"),
        ({"benchmarks": {"training": 5}}, "has the name of"),
    ],
)
def test_a_specification_that_cannot_be_drawn_is_refused(setting, words):
    with pytest.raises(ProfileError, match=words):
        SampleSpec(**setting)


def test_streams_of_different_names_differ_and_of_equal_names_agree():
    first = stream(1, "sample-00", 7).random(4).tolist()
    assert stream(1, "sample-00", 7).random(4).tolist() == first
    assert stream(1, "sample-00", 8).random(4).tolist() != first
    assert stream("1", "sample-00", 7).random(4).tolist() != first
    # Known values: whoever changes how streams are seeded changes every sample ever drawn.
    assert digits(11, 1, "photo") == "26278898838"
    assert hexadecimals(4, "folder", "1") == "c0d8"


def test_shares_follow_mp16_and_add_up():
    everything = country_shares(set(MP16_SHARES), 80)
    assert len(everything) == 80
    assert sum(everything.values()) == pytest.approx(1.0)
    assert list(everything)[:10] == ["USA", "GBR", "ESP", "FRA", "ITA", "DEU", "CAN", "JPN", "AUS", "NLD"]
    assert everything["USA"] / everything["GBR"] == pytest.approx(30.1 / 9.9)
    assert everything["USA"] == pytest.approx(0.30, abs=0.01)
    assert everything["NAM"] / everything["USA"] == pytest.approx(SMALLEST_SHARE / 30.1)


def test_shares_of_a_small_world_keep_their_proportions():
    shares = country_shares({"USA", "ESP", "ATA"}, 80)
    assert shares == pytest.approx({"USA": 30.1 / 35.8, "ESP": 5.7 / 35.8})
    assert country_shares({"ATA"}, 80) == {}
