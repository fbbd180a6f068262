"""Training: it learns, it stops, it repeats itself bit for bit, and it refuses what cannot be taught."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geoloc_core.errors import InputError, ProfileError
from geoloc_core.learning import calibrate
from geoloc_core.learning.batches import RowReader, mean_and_deviation
from geoloc_core.learning.data import TrainingData, divide, encode_labels
from geoloc_core.learning.recipes import FUSIONS, RECIPES, THESIS, HeadSpec, Recipe, head_spec, recipe
from geoloc_core.learning.schedules import Pace
from geoloc_core.learning.train import HeadRequest, train_head, train_heads

SMALL_MLP = HeadSpec(kind="mlp", hidden=(32, 16))


@pytest.fixture
def train(names):
    def train_small(data, spec=SMALL_MLP, how=THESIS, n_classes=5, **options):
        return train_head(data, spec, how, names(n_classes), device="cpu", progress=False, **options)

    return train_small


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_one_batch_can_be_overfitted(head, train):
    """A softmax before the loss would cap the probability of the truth at e / (e + K - 1) and fail this."""
    rng = np.random.default_rng(0)
    data = TrainingData(
        blocks=[rng.normal(size=(128, 160)).astype(np.float16)],
        labels=np.arange(128) % 20,
        is_train=np.ones(128, bool),
        latitude=np.zeros(128),
        longitude=np.zeros(128),
    )
    patient = replace(THESIS, epochs=120, patience=0, schedule="cosine", learning_rate=0.1)
    trained = train(data, head_spec(head), patient, n_classes=20)
    assert trained.history["train_loss"].iloc[-1] < 0.05
    assert (trained.head.posterior(data.blocks).argmax(axis=1) == data.labels).all()


@pytest.mark.parametrize("name", ["thesis", "default"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_recipe_learns_with_every_fusion(name, fusion, train, clusters):
    data = clusters(n=600)
    trained = train(data, replace(SMALL_MLP, fusion=fusion), recipe(name))
    held = ~data.is_train
    answers = trained.head.posterior([block[held] for block in data.blocks]).argmax(axis=1)
    assert (answers == data.labels[held]).mean() > 0.9


@pytest.mark.parametrize("name", ["thesis", "default"])
def test_same_seed_same_weights_bit_for_bit(name, train, clusters):
    data = clusters(n=300)
    one, two, other = (train(data, how=recipe(name), seed=seed).head.state for seed in (7, 7, 8))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_training_does_not_touch_the_random_numbers_of_others(train, clusters):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(clusters(n=100), how=replace(THESIS, epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_the_best_epoch_is_the_one_kept(train, clusters):
    data = clusters(n=200, spread=2.0)
    trained = train(data, how=replace(THESIS, learning_rate=0.1, epochs=30))
    history = trained.history
    assert trained.best_epoch == history.loc[history["stopping_loss"].idxmin(), "epoch"]
    assert trained.head.calibration["accuracy"] == history.loc[trained.best_epoch - 1, "stopping_accuracy"]
    assert len(history) == min(30, trained.best_epoch + THESIS.patience)


def test_thesis_stops_on_validation_photos_and_default_on_held_out_authors(clusters):
    data = clusters(n=800, photos_per_author=4)
    thesis, default = divide(data, 0.0, 0), divide(data, 0.1, 0)
    fit, stopping = default.fit.numpy(), default.stopping.numpy()
    np.testing.assert_array_equal(thesis.stopping, np.flatnonzero(~data.is_train))
    assert thesis.stopping_source == "validation"
    assert default.stopping_source == "held-out training authors"
    assert data.is_train[stopping].all()
    assert set(data.author_id[stopping]).isdisjoint(data.author_id[fit])
    assert 0.05 < len(stopping) / data.is_train.sum() <= 0.1
    assert len(stopping) + len(fit) == data.is_train.sum()


def test_the_last_author_of_a_class_is_never_held_out(clusters):
    data = clusters(n=120, n_classes=30, photos_per_author=2)
    parts = divide(data, 0.5, 1)
    assert set(data.labels[parts.fit.numpy()]) == set(data.labels[data.is_train])
    assert len(parts.stopping) > 0


def test_with_nobody_to_spare_the_fitted_photos_decide(clusters):
    data = clusters(n=20, n_classes=5, photos_per_author=20, validation_share=0.0)
    parts = divide(data, 0.1, 0)
    assert parts.stopping_source == "training"
    np.testing.assert_array_equal(parts.fit, parts.stopping)


def test_a_region_that_training_never_saw_is_no_class():
    regions = np.array(["NLD", "NAM", "", "FRA", "NLD"], dtype=object)
    classes, labels = encode_labels(regions, np.array([True, True, True, False, False]))
    assert classes == ["NAM", "NLD"]
    assert labels.tolist() == [1, 0, -1, -1, 1]


def test_an_unseen_region_is_never_answered_and_counts_as_wrong(clusters, names):
    data = clusters(n=400)
    regions = np.array(names(5), dtype=object)[data.labels]
    seen = data.is_train & (regions != "R03")
    classes, labels = encode_labels(regions, seen)
    trained = train_head(replace(data, labels=labels, is_train=seen), SMALL_MLP, THESIS, classes, progress=False)
    assert "R03" not in trained.head.classes
    hidden = regions == "R03"
    answers = np.array(trained.head.classes)[trained.head.posterior([b[hidden] for b in data.blocks]).argmax(axis=1)]
    assert "R03" not in answers


@pytest.mark.parametrize("level", ["subdivision", "hierarchical"])
def test_a_country_is_the_sum_of_its_sub_divisions(level, train, clusters):
    data = clusters(n=600, n_classes=6)
    parents = ["BBB", "AAA", "BBB", "CCC", "AAA", "BBB"]
    trained = train(data, n_classes=6, level=level, parents=parents)
    p, c = trained.head.posterior(data.blocks), trained.head.country_posterior(data.blocks)
    assert trained.head.countries == ["AAA", "BBB", "CCC"]
    by_hand = np.stack([p[:, [1, 4]].sum(1), p[:, [0, 2, 5]].sum(1), p[:, [3]].sum(1)], axis=1)
    np.testing.assert_allclose(c, by_hand, rtol=1e-6)
    np.testing.assert_allclose(c.sum(axis=1), 1.0, rtol=1e-5)


def test_the_hierarchical_loss_holds_both_levels(train, clusters):
    data, parents = clusters(n=600, n_classes=6), ["BBB", "AAA", "BBB", "CCC", "AAA", "BBB"]
    plain = replace(THESIS, class_weights="none", epochs=1)
    trained = train(data, how=plain, n_classes=6, level="hierarchical", parents=parents)
    held = ~data.is_train
    blocks, labels = [block[held] for block in data.blocks], data.labels[held]
    p, c = trained.head.posterior(blocks), trained.head.country_posterior(blocks)
    country = np.array([trained.head.countries.index(name) for name in parents])[labels]
    rows = np.arange(len(labels))
    by_hand = -np.log(p[rows, labels]).mean() - np.log(c[rows, country]).mean()
    assert trained.history["stopping_loss"].iloc[0] == pytest.approx(by_hand, rel=1e-4)


def test_a_country_head_answers_countries_at_both_doors(train, clusters):
    data = clusters()
    head = train(data).head
    np.testing.assert_array_equal(head.country_posterior(data.blocks), head.posterior(data.blocks))


def test_logit_adjustment_divides_by_the_prior(train, clusters):
    data = clusters(n=500)
    head = train(data).head
    p = head.posterior(data.blocks, logit_adjustment=0.0).astype(np.float64)
    adjusted = p / (head.class_counts / head.class_counts.sum())
    by_hand = adjusted / adjusted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(head.posterior(data.blocks, logit_adjustment=1.0), by_hand, rtol=1e-3, atol=1e-6)


def test_default_calibrates_on_its_held_out_photos(train, clusters):
    data = clusters(n=2000, spread=1.5)
    trained = train(data, how=recipe("default"))
    assert trained.head.temperature != 1.0
    assert trained.head.calibration["ece"] < 0.15  # of some 150 photos in 15 bins
    raw = trained.head.logits(data.blocks)[divide(data, 0.1, 0).stopping.numpy()]
    labels = data.labels[divide(data, 0.1, 0).stopping.numpy()]
    assert trained.head.temperature == pytest.approx(calibrate.fit_temperature(raw, labels), rel=1e-6)
    assert trained.head.calibration["n_stopping"] > 100
    # What the documents promise with every answer: nine times in ten, and at most one in five wrong.
    assert (trained.head.promise.set_coverage, trained.head.promise.sure_max_risk) == (0.9, 0.2)


def test_plateau_divides_the_rate_by_ten_and_patience_ends_it():
    pace = Pace(THESIS, n_rows=1000)
    rates = []
    while not pace.finished:
        rates.append(pace.learning_rate(0))
        pace.end_epoch(1.0)
    # Epoch 1 is the best; eleven epochs without progress divide the rate, twice eleven end it.
    assert rates == pytest.approx([0.1] * 12 + [0.01] * 11)
    assert pace.best_epoch == 1


def test_cosine_warms_up_to_the_peak_and_ends_at_nought():
    how = replace(recipe("default"), epochs=10, min_steps=0, warmup_share=0.1, batch_size=10)
    pace = Pace(how, n_rows=100)
    rates = [pace.learning_rate(step) for step in range(pace.total_steps)]
    assert pace.total_steps == 100
    assert rates[:10] == pytest.approx([how.learning_rate * (i + 1) / 10 for i in range(10)])
    assert rates[55] == pytest.approx(how.learning_rate / 2)
    assert rates[-1] < how.learning_rate * 1e-3


def test_short_epochs_are_repeated_until_there_are_enough_steps():
    how = replace(recipe("default"), epochs=3, min_steps=100, batch_size=50)
    assert Pace(how, n_rows=200).max_epochs == 25
    assert Pace(how, n_rows=20_000).max_epochs == 3


def test_refusals(train, clusters):
    data = clusters(n=60)
    with pytest.raises(InputError, match="never saw"):
        train(data, n_classes=6)
    with pytest.raises(InputError, match="label 4 has no class"):
        train(data, n_classes=4)
    with pytest.raises(ProfileError, match="parents"):
        train(data, level="subdivision")
    with pytest.raises(ProfileError, match="continent"):
        train(data, level="continent")
    with pytest.raises(ProfileError, match=", ".join(RECIPES)):
        recipe("magic")
    with pytest.raises(InputError, match="shape"):
        replace(data, blocks=[data.blocks[0][:5]])
    with pytest.raises(InputError, match="nothing to learn"):
        replace(data, is_train=np.zeros(60, bool))
    blocks = [block.copy() for block in data.blocks]
    blocks[0][3] = np.nan
    with pytest.raises(InputError, match="diverged in epoch 1"):
        train(replace(data, blocks=blocks))


def test_recipes_are_what_the_thesis_says():
    assert (THESIS.optimiser, THESIS.batch_size, THESIS.class_weights, THESIS.schedule) == (
        "sgd",
        128,
        "inverse",
        "plateau",
    )
    # Its ablation differs in the weights alone, which are then one for every photo.
    assert replace(recipe("thesis_unweighted"), name="thesis", class_weights="inverse") == THESIS
    assert isinstance(recipe("default"), Recipe)


def test_heads_trained_together_are_the_heads_trained_alone(clusters, names):
    data = clusters(n=400, dims=(6, 4, 5))
    how = {"device": "cpu", "progress": False, "seed": 3}
    requests = [
        HeadRequest(SMALL_MLP, THESIS, (0, 2)),
        HeadRequest(head_spec("linear"), THESIS, (1,)),
        HeadRequest(SMALL_MLP, recipe("default"), (2, 1)),
        HeadRequest(head_spec("linear"), replace(THESIS, class_weights="sqrt")),
    ]
    together = train_heads(data, requests, names(5), **how)
    for request, trained in zip(requests, together, strict=True):
        blocks = [data.blocks[index] for index in request.blocks or (0, 1, 2)]
        alone = train_head(replace(data, blocks=blocks), request.head_spec, request.recipe, names(5), **how)
        assert trained.head.block_dims == tuple(block.shape[1] for block in blocks)
        assert all(torch.equal(trained.head.state[key], alone.head.state[key]) for key in alone.head.state)
        assert trained.history.equals(alone.history)


def test_each_batch_is_read_once_for_all_heads(clusters, names, monkeypatch):
    data = clusters(n=400, dims=(6, 4, 5))
    reads = []
    read = RowReader.read
    monkeypatch.setattr(RowReader, "read", lambda self, rows: reads.append(len(rows)) or read(self, rows))
    short = replace(THESIS, epochs=3)
    requests = [HeadRequest(SMALL_MLP, short, blocks) for blocks in ((0,), (0, 1), (1, 2))]
    train_heads(data, requests, names(5), device="cpu", progress=False)
    # In each of three epochs every photo once; then each of three heads is calibrated on the photos that stopped it.
    assert sum(reads) == 3 * len(data.labels) + 3 * int((~data.is_train).sum())


def test_a_request_for_a_block_that_is_not_there_is_refused(clusters, names):
    with pytest.raises(InputError, match=r"blocks \[2\], but the data has 2"):
        train_heads(clusters(n=60), [HeadRequest(SMALL_MLP, THESIS, (2,))], names(5))


def test_memory_mapped_vectors_train_the_same_head(clusters, train, tmp_path):
    data = clusters(n=300)
    mapped = []
    for index, block in enumerate(data.blocks):
        np.save(tmp_path / f"{index}.npy", block)
        mapped.append(np.load(tmp_path / f"{index}.npy", mmap_mode="r"))
    one, two = train(data), train(replace(data, blocks=mapped))
    assert all(torch.equal(one.head.state[key], two.head.state[key]) for key in one.head.state)


def test_statistics_against_float64():
    rng = np.random.default_rng(0)
    blocks = [(1000 + rng.normal(size=(9000, 3))).astype(np.float32), rng.normal(size=(9000, 2)).astype(np.float16)]
    rows = torch.arange(100, 9000)
    statistics = mean_and_deviation(RowReader(blocks, torch.device("cpu")), rows)
    for block, (mean, deviation) in zip(blocks, statistics, strict=True):
        exact = block[100:].astype(np.float64)
        np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(deviation, exact.std(axis=0), rtol=1e-4)


def test_the_head_knows_its_sets_and_when_it_is_sure(clusters, train):
    """The thresholds come from the photos that decide, over countries, as the country posterior gives them."""
    data = clusters(n=3000, n_classes=6, spread=1.0, photos_per_author=3)
    parents = ["BBB", "AAA", "BBB", "CCC", "AAA", "BBB"]
    head = train(data, how=recipe("default"), n_classes=6, level="hierarchical", parents=parents).head
    held = ~data.is_train
    countries = head.country_posterior([block[held] for block in data.blocks])
    truth = head.country_of_class[data.labels[held]]
    assert [head.countries[c] for c in truth[:4]] == [parents[label] for label in data.labels[held][:4]]
    sets = head.country_sets(countries)
    assert sets[np.arange(len(truth)), truth].mean() == pytest.approx(0.9, abs=0.04)
    sure = head.sure(countries)
    assert sure.any()
    assert (countries.argmax(axis=1) == truth)[sure].mean() > 0.8
    assert head.calibration["sure_max_risk"] == 0.2


def test_a_mapped_matrix_is_given_back_while_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("geoloc_core.learning.batches.ROWS_BETWEEN_RELEASES", 100)
    matrix = (np.arange(4_000_000) % 7).astype(np.float16).reshape(1000, 4000)
    np.save(tmp_path / "m.npy", matrix)
    reader = RowReader([np.load(tmp_path / "m.npy", mmap_mode="r")[:, :]], torch.device("cpu"))
    released = []
    assert len(reader._mappings) == 1

    class Watched:
        def madvise(self, advice):
            released.append(advice)
            mapping.madvise(advice)

    mapping, reader._mappings = reader._mappings[0], [Watched()]
    for rows in torch.randperm(1000).split(60):
        np.testing.assert_array_equal(reader.read(rows)[0], matrix[rows])
    assert len(released) == 8


def test_a_private_or_plain_matrix_is_never_thrown_away(tmp_path):
    np.save(tmp_path / "m.npy", np.ones((10, 4), np.float16))
    private = np.load(tmp_path / "m.npy", mmap_mode="c")
    private[:] = 5
    assert not RowReader([private, np.ones((10, 4), np.float16)], torch.device("cpu"))._mappings
