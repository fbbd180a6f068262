"""A head on disk: what is saved is what is loaded, and a damaged folder is refused with a reason."""

import hashlib
import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import safetensors.torch
import torch

from geoloc_core.errors import CheckpointError, InputError
from geoloc_core.learning.head_files import load_head, read_references, save_head
from geoloc_core.learning.recipes import HeadSpec, recipe
from geoloc_core.learning.train import train_head

FEATURES = [{"backbone": "a", "version": "v1", "dimension": 6}, {"backbone": "b", "version": "v2", "dimension": 4}]


@pytest.fixture(scope="module")
def data(clusters):
    return clusters(n=300)


@pytest.fixture(scope="module")
def trained(data, names):
    spec = HeadSpec(kind="mlp", hidden=(16,), fusion="gated")
    parents = ["AAA", "AAA", "BBB", "BBB", "BBB"]
    return train_head(
        data, spec, recipe("default"), names(5), level="hierarchical", parents=parents, progress=False, device="cpu"
    )


@pytest.fixture
def folder(trained, tmp_path):
    save_head(tmp_path / "head", trained, {"features": FEATURES, "experiment": "a+b.mlp.hierarchical.default"})
    return tmp_path / "head"


def test_what_is_saved_is_what_is_loaded(trained, folder, data, names):
    head = load_head(folder)
    np.testing.assert_array_equal(head.posterior(data.blocks), trained.head.posterior(data.blocks))
    np.testing.assert_array_equal(head.country_posterior(data.blocks), trained.head.country_posterior(data.blocks))
    assert head.classes == names(5)
    assert head.countries == ["AAA", "BBB"]
    assert head.level == "hierarchical"
    assert head.temperature == trained.head.temperature
    assert head.within_temperature == trained.head.within_temperature
    assert head.calibration == trained.head.calibration
    assert head.features == FEATURES
    assert head.meta["experiment"] == "a+b.mlp.hierarchical.default"
    assert head.meta["recipe"] == asdict(recipe("default"))
    assert (folder / "history.csv").read_text().startswith("epoch,learning_rate,train_loss,stopping_loss")


def test_saving_twice_gives_the_same_bytes(trained, folder, tmp_path):
    save_head(tmp_path / "again", trained, {"features": FEATURES, "experiment": "a+b.mlp.hierarchical.default"})
    for name in ("head.safetensors", "head.json", "history.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_loading_needs_no_training_code(folder):
    code = (
        "import sys; from geoloc_core.learning.head_files import load_head; load_head(sys.argv[1]);"
        "wrong = [m for m in sys.modules if m in ('geoloc_core.learning.train', 'sklearn',"
        " 'dagster', 'mlflow', 'transformers', 'geopandas')]; sys.exit(repr(wrong) if wrong else 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def test_wrong_vectors_are_refused_by_name(folder, data):
    head = load_head(folder)
    with pytest.raises(InputError, match=r"widths \[6, 4\] \(a, b\), but got \[4, 6\]"):
        head.posterior(data.blocks[::-1])
    with pytest.raises(InputError, match="different numbers"):
        head.posterior([data.blocks[0][:3], data.blocks[1][:4]])


def test_no_photos_no_answers(folder, data):
    assert load_head(folder).posterior([block[:0] for block in data.blocks]).shape == (0, 5)


def change(**values):
    def apply(folder):
        described = json.loads((folder / "head.json").read_text())
        (folder / "head.json").write_text(json.dumps({**described, **values}))

    return apply


def without(key):
    def apply(folder):
        described = json.loads((folder / "head.json").read_text())
        del described[key]
        (folder / "head.json").write_text(json.dumps(described))

    return apply


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "head.json").unlink(), "no whole head"),
        (lambda folder: (folder / "head.safetensors").unlink(), "no whole head"),
        (lambda folder: (folder / "head.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "head.json").write_text("[]"), "cannot be read: Input should be an object"),
        (lambda folder: (folder / "head.safetensors").write_bytes(b"\0" * 40), "not the file"),
        (change(format=2), "format: Input should be 3"),
        (change(classes=["R00"] * 5), "twice"),
        (change(classes=["R00", "R01"]), "belong together"),
        (change(classes=[1, 2, 3, 4, 5]), "classes.0: Input should be a valid string"),
        (change(class_counts=[0, 1, 1, 1, 1]), "class_counts.0: Input should be greater"),
        (change(temperature=-1), "temperature: Input should be greater"),
        (change(within_temperature=0), "within_temperature: Input should be greater"),
        (change(level="planet"), "level: Input should be 'country'"),
        (change(block_dims=[5, 4]), "do not fit"),
        (change(head={"kind": "forest"}), "forest"),
        (change(features=[3]), "features.0: Input should be an object"),
        (without("temperature"), "temperature: Field required"),
    ],
)
def test_a_damaged_head_is_refused(folder, damage, says):
    damage(folder)
    with pytest.raises(CheckpointError, match=says):
        load_head(folder)


def test_damaged_weights_with_a_matching_hash_are_refused(folder):
    (folder / "head.safetensors").write_bytes(b"\xff" * 64)
    change(weights_sha256=hashlib.sha256(b"\xff" * 64).hexdigest())(folder)
    with pytest.raises(CheckpointError, match=r"cannot be read: .*header"):
        load_head(folder)


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        ({"vectors": (4, 10), "latitude": (4,), "longitude": (4,)}, "cannot be read"),
        ({"vectors": (4, 9), "latitude": (4,), "longitude": (4,), "starts": (6,)}, "not those of its classes"),
        ({"vectors": (4, 10), "latitude": (4,), "longitude": (3,), "starts": (6,)}, "not those of its classes"),
        ({"vectors": (4, 10), "latitude": (4,), "longitude": (4,), "starts": (5,)}, "not those of its classes"),
        ({"vectors": (4, 10), "latitude": (4,), "longitude": (4,), "starts": (6,)}, "not those of its classes"),
    ],
)
def test_kept_photos_that_do_not_fit_are_refused(folder, kept, says):
    content = safetensors.torch.save({name: torch.zeros(shape) for name, shape in kept.items()})
    (folder / "references.safetensors").write_bytes(content)
    change(meta={"references_sha256": hashlib.sha256(content).hexdigest()})(folder)
    with pytest.raises(CheckpointError, match=says):
        read_references(folder, load_head(folder))
