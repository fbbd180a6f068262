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


def test_the_sample_holds_the_structure_of_the_thesis_and_its_six_experiments_where_weights_can_be_had() -> None:
    profile = load_profile(PROFILES / "sample.yaml")
    assert profile.optional == ("clip", "clip+vit", "vit+segvit")
    for recipe, level in (("thesis", "country"), ("thesis_unweighted", "country"), ("default", "hierarchical")):
        of_recipe = {e.key for e in profile.experiments if e.recipe == recipe and e.features not in profile.optional}
        own = ("lite0", "lite2", "lite0+lite2")
        assert of_recipe >= {f"{f}.{head}.{level}.{recipe}" for f in own for head in ("linear", "mlp")}
    optional = {e.key for e in profile.experiments if e.features in profile.optional}
    assert optional == {f"{f}.{head}.country.thesis" for f in profile.optional for head in ("linear", "mlp")}
    assert list(profile.sample) == ["photos", "commons", "drawn"]
    # Only what is drawn may speak of drawings.
    assert [name for name, kind in profile.sample.items() if "drawn" in kind.notice] == ["drawn"]


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
        ({"optional": ["c"]}, "`optional` names the features 'c', which `features` does not name"),
        (
            {"sample": {"x": {"training": [{"name": "d", "metadata": "m", "rows": {"where": {"a": "("}}}]}}},
            "no regular",
        ),
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


# Each line is ten of the line before: 10^30 values at the end.
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 31))
LEAST_YAML = "drawn: {shards: 1}\nfeatures: {a: [tiny-clip]}\nexperiments: [a.linear.country.thesis]\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB, "with its aliases written out it has more than 4,194,304 characters"),
        (f"a: &a {'x' * 900_000}\nb: [{', '.join(['*a'] * 9_000)}]\n", "it has more than 4,194,304 characters"),
        ("features: &me {again: *me}\n", "a value holds itself by an alias"),
        ("features: " + "[" * 20_000 + "]" * 20_000, "is nested too deeply"),
        ("seed: 1\nseed: 2\n" + LEAST_YAML, r"the key 'seed' is given twice.*line 2"),
        (b"\x00\x01\x02\xff" * 20, "is not valid YAML"),
        (LEAST_YAML.encode("latin-1") + b"notice: caf\xe9\n", "is not valid YAML"),
        ("notice: " + "x" * 2**21, "it is larger than 1,048,576 bytes"),
        ("seed: " + "9" * 5000 + "\n" + LEAST_YAML, "is not valid YAML"),
        ("? [a, b]\n: c\n" + LEAST_YAML, "is not valid YAML"),
        ("seed: !!timestamp x\n" + LEAST_YAML, "is not valid YAML"),
        ("- a\n", "must be a mapping"),
    ],
)
def test_hostile_files_are_one_sentence(tmp_path: Path, content: str | bytes, words: str) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ProfileError, match=words) as caught:
        load_profile(path)
    assert "\n" not in str(caught.value)


def test_utf_16_is_read_as_yaml_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "wide.yaml"
    path.write_bytes(LEAST_YAML.encode("utf-16"))
    assert load_profile(path).experiment_keys() == ("a.linear.country.thesis",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"experiments": ["a.linear.country.theses"]}, "recipe 'theses' is not known; choose one of thesis,"),
        ({"experiments": ["a.linaer.country.thesis"]}, "head 'linaer' is not known; choose one of linear,"),
        ({"features": {"a": ["tiny-clop"], "b": ["tiny-vit"]}}, "backbone 'tiny-clop' is not known"),
        ({"landing": {"source": "csw"}}, "there is no metadata source 'csw'; choose one of photo_folder,"),
        ({"training": [{"name": "x", "metadata": "m", "source": "csw"}]}, "there is no metadata source 'csw'"),
        ({"images": {"max_pixels": -1}}, "images.max_pixels: Input should be greater than or equal to 1, not -1"),
        ({"split": {"min_support": 0}}, "split.min_support: Input should be greater than or equal to 1, not 0"),
        ({"fetching": {"stall_timeout_s": 0.0}}, "fetching.stall_timeout_s: Input should be greater than 0, not 0.0"),
        ({"fetching": {"first_pause_s": -0.5}}, "fetching.first_pause_s: Input should be greater than or equal to 0"),
        ({"near_cap_km": float("nan")}, "near_cap_km: Input should be a finite number, not nan"),
        ({"near_cap_km": float("inf")}, "near_cap_km: Input should be a finite number, not inf"),
    ],
)
def test_every_name_and_every_bound_is_checked_before_anything_is_made(changes: dict[str, Any], words: str) -> None:
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
