"""A packed model from a stranger: what it says is checked whole, and it changes no file of the reader's."""

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from geoloc_core.answers.package import read_description
from geoloc_core.answers.predict import Predictor, as_json
from geoloc_core.errors import CheckpointError, GeolocError, ProfileError
from geoloc_core.features.backbones import BACKBONES, backbone
from geoloc_core.storage import file_name

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 3.5, 1e308, float("nan"), 10**40, "", "x", "../../x", "/no/folder", "a\x00b", [], {}, [[]], {"a": {}},
)  # fmt: skip


@pytest.fixture
def copied(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same for a test that changes it; what is fetched goes to a folder of the test's own, and no hub is there."""
    monkeypatch.setenv("GEOLOC_CACHE", str(tmp_path.with_name(f"{tmp_path.name}-cache")))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("model", "checkpoints"):
        shutil.copytree(small.parent / name, tmp_path / name)
    return tmp_path / "model"


def tree(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def edit(model: Path, **changes: Any) -> None:
    """Change the one specification of a packed model."""
    value = json.loads((model / "model.json").read_text())
    value["specifications"]["tiny-clip"] |= changes
    (model / "model.json").write_text(json.dumps(value))


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in pairs for place in ((value, key), *places(inner))]


def mutated(text: str, rng: random.Random) -> str:
    """A JSON text with one thing wrong: a value, a type, a key, a list's length, or the text itself."""
    value = json.loads(text)
    container, key = rng.choice(places(value))
    kind = rng.randrange(6)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        container[f"{key}x"] = container.pop(key)
    elif kind == 2 and isinstance(container, list):
        container.append(container[key])
    elif kind == 3:
        cut = rng.randrange(len(text))
        return rng.choice((text[:cut], text[:cut] + "[" * 100_000 + text[cut:], "[]", "null", "\ufffd\x00", '"model"'))
    else:
        container[key] = rng.choice(VALUES)
    return json.dumps(value)


def refusal(model: Path, photo: Path) -> str:
    """Why a packed model gives no answer, or "" where it gives one that is whole."""
    try:
        (answer,) = Predictor.load(model, model.parent / "checkpoints", "cpu").predict([photo])
    except GeolocError as error:
        return str(error)
    json.loads(as_json(answer), parse_constant=pytest.fail)
    return ""


@pytest.mark.slow
def test_240_mutations_of_what_it_says_are_one_sentence_each_or_an_answer(copied: Path, photo: Path) -> None:
    """Of each file 80: no traceback; the sentence names the file, or the folder of the weights that would not fit it."""
    sentences = []
    for name in ("model.json", "head/head.json", "companion/head.json"):
        file = copied / name
        text = file.read_text()
        for seed in range(80):
            file.write_text(mutated(text, random.Random(f"{name} {seed}")))
            sentences.append(refusal(copied, photo))
        file.write_text(text)
    refused = [sentence for sentence in sentences if sentence]
    assert [sentence for sentence in refused if "\n" in sentence or str(copied.parent) not in sentence] == []
    # What is not needed for an answer (notes, scores, the recipe) may say anything.
    assert (len(sentences), len(refused) > 120) == (240, True)
    assert refusal(copied, photo) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kept_as": "../../x"}, "cannot be the name of a file"),
        ({"kept_as": "/no/folder"}, "cannot be the name of a file"),
        ({"dimension": "wide"}, "specifications.tiny-clip.dimension"),
        ({"surprise": 1}, "surprise"),
        ({"library": "pickle"}, "pickle"),
    ],
)
def test_a_specification_that_is_none_is_named(copied: Path, change: dict[str, Any], words: str) -> None:
    edit(copied, **change)
    with pytest.raises(CheckpointError, match=words) as refusal:
        read_description(copied)
    assert str(copied / "model.json") in str(refusal.value)


def test_a_name_that_becomes_a_path_cannot_leave_its_folder() -> None:
    for name in ("..", ".", "", "../x", "/x", "a/b", "a\\b", "a\x00", "a\n", ".hidden", "-rf", "x" * 129, "C:x", "é"):
        with pytest.raises(ValueError, match="cannot be the name of a file"):
            file_name(name)
        if name:
            with pytest.raises(ProfileError, match="cannot be the name of a file"):
                backbone("tiny-clip").changed(kept_as=name)
    assert [file_name(name) for name in (*BACKBONES, "a.b+c@d_e-f")]


@pytest.mark.parametrize("without", ["", "tiny-clip.sha256.json", "tiny-clip.seeded.json"])
@pytest.mark.parametrize("weights", ["seeded:101", "seeded:999", "hub:stranger/model", "path:/dev/null"])
def test_a_stranger_s_model_changes_no_file_of_the_reader_s(
    copied: Path, photo: Path, weights: str, without: str
) -> None:
    """Under the name of the reader's weights, whatever it says of where they come from; with the records and without."""
    if without:
        (copied.parent / "checkpoints" / without).unlink()
    edit(copied, weights=weights)
    before = tree(copied.parent)
    assert ("lacks" in refusal(copied, photo)) == (weights == "path:/dev/null")
    assert tree(copied.parent) == before
    shutil.rmtree(copied.parent / "checkpoints" / "tiny-clip")
    before = tree(copied.parent)
    assert "lacks" in refusal(copied, photo)
    assert tree(copied.parent) == before


def test_other_weights_than_those_that_the_head_learned_from_are_refused(copied: Path, photo: Path) -> None:
    version = read_description(copied).backbones["tiny-clip"].version
    for file in (copied / "model.json", copied / "head" / "head.json", copied / "companion" / "head.json"):
        file.write_text(file.read_text().replace(version, "0" * 64))
    before = tree(copied.parent)
    assert "is not the one that the model was trained with" in refusal(copied, photo)
    assert tree(copied.parent) == before


def test_damaged_weights_are_said_and_never_mended(copied: Path) -> None:
    weights = next((copied.parent / "checkpoints" / "tiny-clip").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    before = tree(copied.parent)
    with pytest.raises(CheckpointError, match="is not what it was"):
        Predictor.load(copied, copied.parent / "checkpoints", "cpu")
    assert tree(copied.parent) == before
