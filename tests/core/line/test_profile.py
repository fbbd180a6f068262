"""Profiles: what they say, and what they are refused for."""

import re
from pathlib import Path
from typing import Any

import pytest

from geoloc_core.errors import ProfileError
from geoloc_core.line.profile import Profile, load_profile, parse_profile

PROFILES = Path(__file__).resolve().parents[3] / "profiles"
LEAST: dict[str, Any] = {
    "name": "p",
    "drawn": {"shards": 2, "benchmarks": {"bench": 3}},
    "features": {"a": ["tiny-clip"], "b": ["tiny-vit", "tiny-clip"]},
    "experiments": ["a.linear.country.thesis", "b.mlp.country.thesis"],
}


def parsed(**changes: Any) -> Profile:
    return parse_profile({**LEAST, **changes})


def test_the_sample_holds_the_six_experiments_of_the_thesis() -> None:
    profile = load_profile(PROFILES / "sample.yaml")
    thesis = {e.key for e in profile.experiments if e.recipe == "thesis"}
    features = ("clip", "clip+vit", "vit+segvit")
    assert thesis == {f"{f}.{head}.country.thesis" for f in features for head in ("linear", "mlp")}
    assert profile.backbones() == ("tiny-clip", "tiny-vit", "tiny-segvit")
    assert profile.shards() == ("sample-00", "sample-01", "sample-02", "sample-03", "sample-im2gps", "sample-im2gps3k")
    assert "drawn" in profile.notice


def test_backbones_come_once_in_order_of_first_use() -> None:
    assert parsed().backbones() == ("tiny-clip", "tiny-vit")


def test_a_dataset_is_cut_into_named_shards() -> None:
    rows = {"name": "mp16", "metadata": "m.csv", "images": "i", "shards": 3, "rows_per_shard": 10}
    profile = parsed(training=[rows])
    assert profile.training_shards() == ("sample-00", "sample-01", "mp16-00", "mp16-01", "mp16-02")
    found = profile.dataset_of("mp16-01")
    assert found is not None
    assert (found[0].name, found[1]) == ("mp16", 1)
    assert profile.dataset_of("sample-00") is None


def test_the_environment_is_put_in_and_missed_when_it_is_not_there(tmp_path, monkeypatch):
    path = tmp_path / "p.yaml"
    path.write_text(
        "features: {a: [tiny-clip]}\nexperiments: [a.linear.country.thesis]\n"
        "training: [{name: x, metadata: '${SOMEWHERE}/m.csv', images: i}]\n"
    )
    with pytest.raises(ProfileError, match=r"\$\{SOMEWHERE\} is not set in the environment; export SOMEWHERE first"):
        load_profile(path)
    monkeypatch.setenv("SOMEWHERE", "/data")
    dataset = load_profile(path).training[0]
    assert dataset.metadata == "/data/m.csv"
    # What is not absolute lies beside the profile, from wherever it is run.
    assert dataset.images == str(tmp_path / "i")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": 1}, "unknown key 'colour'; did you mean 'columns'?"),
        ({"drawn": {"sead": 1}}, "unknown key 'drawn.sead'; did you mean 'seed'?"),
        ({"drawn": {"seed": "one"}}, "drawn.seed: Input should be a valid integer, not 'one'"),
        ({"drawn": None}, "nothing to learn from"),
        ({"experiments": ["a.linear.country"]}, "must read features.head.level.recipe"),
        ({"experiments": ["c.linear.country.thesis"]}, "uses the features 'c', which `features` does not name"),
        ({"experiments": ["a.linear.town.thesis"]}, "experiments.0.level: 'town' is not known; choose one of country,"),
        ({"experiments": ["a.linear.country.thesis"] * 2}, "the same experiment is listed twice"),
        ({"split": {"validation_share": 1.0}}, "split.validation_share: Input should be less than 1, not 1.0"),
        ({"training": [{"name": "bench", "metadata": "m", "images": "i"}]}, "two datasets give the shard 'bench'"),
        ({"training": [{"name": "x"}]}, "the key 'training.0.metadata' is missing"),
        ({"benchmarks": [{"name": "x", "metadata": "m", "images": "i", "shards": 2}]}, "must be one shard"),
        ({"name": "../up"}, "name: '../up' cannot be the name of a file"),
        ({"features": {"a": "tiny-clip"}}, "features.a: Input should be a list, not 'tiny-clip'"),
        ({"device": "gpu"}, "device: Input should be 'auto', 'cpu' or 'cuda', not 'gpu'"),
        ({"near_cap_km": True}, "near_cap_km: Input should be a valid number, not True"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parsed(**changes)
    assert words in str(caught.value)


def test_an_experiment_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(ProfileError, match=r"has no experiment 'z'; it has a\.linear\.country\.thesis, b\.mlp"):
        parsed().experiment("z")


def test_the_profile_of_the_thesis_names_its_data_its_weights_and_its_six_experiments(monkeypatch):
    for name in ("GEOLOC_MP16", "GEOLOC_IM2GPS", "GEOLOC_CHECKPOINTS"):
        monkeypatch.setenv(name, "/data")
    profile = load_profile(PROFILES / "thesis.yaml")
    assert profile.backbones() == ("clip-l-14", "vit-l-16-in21k", "seg-vit")
    assert len(profile.training_shards()) == 48
    assert profile.benchmark_names() == ("im2gps", "im2gps3k")
    assert sum(experiment.recipe == "thesis" for experiment in profile.experiments) == 6


def test_the_point_is_the_experiments_choice_the_profiles_or_the_recipes() -> None:
    keys = ["a.linear.country.thesis", "b.mlp.country.default", {"key": "a.mlp.country.default", "answer": "medoid"}]
    profile = parsed(experiments=keys)
    assert [profile.answer_of(key) for key in profile.experiment_keys()] == ["centroid", "expected_geoscore", "medoid"]
    everywhere = parsed(experiments=keys, answer="within200")
    assert [everywhere.answer_of(key) for key in everywhere.experiment_keys()] == ["within200", "within200", "medoid"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"answer": "middle"}, "answer: 'middle' is not known; choose one of centroid,"),
        (
            {"experiments": [{"key": "a.mlp.country.default", "answer": "here"}]},
            "experiments.0.answer: 'here' is not known; choose one of centroid,",
        ),
        ({"experiments": [{"answer": "medoid"}]}, "must read features.head.level.recipe"),
    ],
)
def test_an_answer_that_is_not_known_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(words)):
        parsed(**changes)
