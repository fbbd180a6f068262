"""Training: it learns, it stops, it repeats itself bit for bit, and it refuses what cannot be taught."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geoloc_core.errors import InputError, ProfileError
from geoloc_core.learning import calibrate
from geoloc_core.learning.data import RowReader, TrainingData, encode_labels, mean_and_deviation, split_rows
from geoloc_core.learning.descent import TRIAL_RATES, build_schedule, epochs_and_steps
from geoloc_core.learning.losses import build_objective
from geoloc_core.learning.recipes import DEFAULT, HEADS, RECIPES, THESIS, HeadSpec, head_spec, recipe
from geoloc_core.learning.train import train_head

SMALL_MLP = HeadSpec(kind="mlp", hidden=(32, 16))
FAST_THESIS = replace(THESIS, learning_rate=0.1)  # without the trial of rates


@pytest.fixture
def train(names):
    def train_small(data, spec=SMALL_MLP, how=FAST_THESIS, n_classes=5, **options):
        return train_head(data, spec, how, names(n_classes), device="cpu", progress=False, **options)

    return train_small


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_one_batch_can_be_overfitted(head, train):
    """A softmax before the loss would cap the probability of the truth at e / (e + K - 1) and fail this."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(128, 160)).astype(np.float16)
    data = TrainingData([vectors], np.arange(128) % 20, np.ones(128, bool), *np.zeros((2, 128)), np.arange(128))
    patient = replace(THESIS, epochs=120, patience=0, schedule="cosine", learning_rate=0.1)
    trained = train(data, head_spec(head), patient, n_classes=20)
    assert trained.history["train_loss"].iloc[-1] < 0.05
    assert (trained.head.posterior(data.blocks).argmax(axis=1) == data.labels).all()


@pytest.mark.parametrize("name", ["thesis", "default"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("length", [1, 30])
def test_every_head_learns_by_every_recipe_from_vectors_of_any_length(length, head, name, train, clusters):
    """Vectors of real backbones are tens of times longer than drawn ones: no recipe may diverge on them."""
    data = clusters(n=600)
    data = replace(data, blocks=[(block * np.float16(length)) for block in data.blocks])
    trained = train(data, replace(head_spec(head), hidden=(32, 16), neighbours=10), recipe(name))
    held = ~data.is_train
    answers = trained.head.posterior([block[held] for block in data.blocks]).argmax(axis=1)
    assert (answers == data.labels[held]).mean() > 0.8
    assert trained.head.calibration["accuracy"] == trained.history["stopping_accuracy"][trained.best_epoch - 1]


@pytest.mark.parametrize("length", [1, 100])
def test_the_rate_of_the_thesis_suits_vectors_of_a_real_network(length, train):
    """Pooled activations are positive, skewed and far from zero; the MLP of the thesis has 1024, 512 and 256 units."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(20), rng.choice(20, 480, p=np.arange(1, 21) / 210)])
    vectors = np.maximum(rng.normal(size=(20, 96))[labels] + rng.normal(size=(500, 96)), 0) * length
    data = TrainingData(
        blocks=[vectors.astype(np.float16)],
        labels=labels,
        is_train=np.arange(500) < 400,
        latitude=np.zeros(500),
        longitude=np.zeros(500),
        author_id=np.arange(500),
    )
    trained = train(data, head_spec("mlp"), replace(recipe("thesis_unweighted"), epochs=12), n_classes=20)
    assert trained.recipe.learning_rate in TRIAL_RATES
    assert np.isfinite(trained.history[["train_loss", "stopping_loss"]]).all(axis=None)
    answers = trained.head.posterior([vectors[400:]]).argmax(axis=1)
    assert (answers == labels[400:]).mean() > 0.8


def test_a_run_that_diverges_begins_again_at_a_third_of_the_rate(train, clusters):
    data = clusters(n=600)
    trained = train(data, how=replace(THESIS, learning_rate=1e4))
    assert trained.recipe.learning_rate in [pytest.approx(1e4 / 3**k) for k in range(1, 12)]
    assert trained.history["learning_rate"][0] == trained.recipe.learning_rate
    assert np.isfinite(trained.history["train_loss"]).all()


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
    train(clusters(n=100), how=replace(FAST_THESIS, epochs=1))
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
    thesis, default = split_rows(data, 0.0, 0), split_rows(data, 0.1, 0)
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
    parts = split_rows(data, 0.5, 1)
    assert set(data.labels[parts.fit.numpy()]) == set(data.labels[data.is_train])
    assert len(parts.stopping) > 0


def test_cross_validation_holds_each_author_out_once(clusters):
    data = clusters(n=800, photos_per_author=4)
    parts = split_rows(data, 0.1, 0, n_folds=5)
    np.testing.assert_array_equal(parts.fit, data.training_rows)
    assert len(parts.folds) == 5
    for fitted, held_out in parts.folds:
        assert sorted([*fitted.tolist(), *held_out.tolist()]) == data.training_rows.tolist()
        assert set(data.author_id[held_out]).isdisjoint(data.author_id[fitted])
        assert 0.16 < len(held_out) / len(data.training_rows) < 0.24
    assert sorted(parts.stopping.tolist()) == data.training_rows.tolist()
    # A class of one author is never held out: no fit could know it.
    alone = replace(data, labels=np.where(data.author_id == "a0", 5, data.labels % 5))
    assert 5 not in alone.labels[split_rows(alone, 0.1, 0, n_folds=5).stopping]


def test_with_nobody_to_spare_the_fitted_photos_decide(clusters):
    data = clusters(n=20, n_classes=5, photos_per_author=20, validation_share=0.0)
    parts = split_rows(data, 0.1, 0)
    assert parts.stopping_source == "training"
    np.testing.assert_array_equal(parts.fit, parts.stopping)


def test_a_region_that_training_never_saw_is_no_class():
    regions = np.array(["NLD", "NAM", "", "FRA", "NLD"], dtype=object)
    classes, labels = encode_labels(regions, np.array([True, True, True, False, False]))
    assert classes == ["NAM", "NLD"]
    assert labels.tolist() == [1, 0, -1, -1, 1]


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


def test_logit_adjustment_divides_by_the_prior(train, clusters):
    data = clusters(n=500)
    head = train(data).head
    p = head.posterior(data.blocks).astype(np.float64)
    adjusted = p / (head.class_counts / head.class_counts.sum())
    by_hand = adjusted / adjusted.sum(axis=1, keepdims=True)
    even = replace(head, logit_adjustment=1.0)
    np.testing.assert_allclose(even.posterior(data.blocks), by_hand, rtol=1e-3, atol=1e-6)


def test_default_calibrates_on_its_held_out_photos(train, clusters):
    data = clusters(n=2000, spread=1.5)
    trained = train(data, how=recipe("default"))
    assert trained.head.temperature != 1.0
    assert trained.head.calibration["ece"] < 0.15  # of some 150 photos in 15 bins
    raw = trained.head.logits(data.blocks)[split_rows(data, 0.1, 0).stopping.numpy()]
    labels = data.labels[split_rows(data, 0.1, 0).stopping.numpy()]
    assert trained.head.temperature == pytest.approx(calibrate.fit_temperature(raw, labels), rel=1e-6)
    assert trained.head.calibration["n_stopping"] > 100
    # What the documents promise with every answer: nine times in ten, and at most one in five wrong.
    assert (trained.head.promise.set_coverage, trained.head.promise.sure_max_risk) == (0.9, 0.2)


def test_refusals(train, clusters):
    data = clusters(n=60)
    for error, words, settings in [
        (InputError, "never saw", {"n_classes": 6}),
        (InputError, "label 4 has no class", {"n_classes": 4}),
        (ProfileError, "parents", {"level": "subdivision"}),
        (ProfileError, "continent", {"level": "continent"}),
    ]:
        with pytest.raises(error, match=words):
            train(data, **settings)
    with pytest.raises(ProfileError, match=", ".join(RECIPES)):
        recipe("magic")
    with pytest.raises(InputError, match="shape"):
        replace(data, blocks=[data.blocks[0][:5]])
    with pytest.raises(InputError, match="nothing to learn"):
        replace(data, is_train=np.zeros(60, bool))
    blocks = [block.copy() for block in data.blocks]
    blocks[0][3] = np.nan
    with pytest.raises(InputError, match="not numbers"):
        train(replace(data, blocks=blocks))


def test_memory_mapped_vectors_train_the_same_head(clusters, train, tmp_path):
    data = clusters(n=300)
    mapped = []
    for index, block in enumerate(data.blocks):
        np.save(tmp_path / f"{index}.npy", block)
        mapped.append(np.load(tmp_path / f"{index}.npy", mmap_mode="r"))
    one, two = train(data), train(replace(data, blocks=mapped))
    assert all(torch.equal(one.head.state[key], two.head.state[key]) for key in one.head.state)


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


def plateau_rates(recipe, losses):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = build_schedule(optimiser, recipe, 0)
    rates = []
    for loss in losses:
        rates.append(optimiser.param_groups[0]["lr"])
        schedule.step(loss)
    return rates


def test_plateau_divides_the_rate_by_ten_after_eleven_epochs_without_progress():
    assert plateau_rates(THESIS, [1.0] * 23) == pytest.approx([0.1] * 12 + [0.01] * 11)
    assert THESIS.patience == 22


def test_cosine_warms_up_to_the_peak_and_ends_at_zero():
    how = replace(DEFAULT, epochs=10, min_steps=0, warmup_share=0.1, batch_size=10)
    n_epochs, steps = epochs_and_steps(how, 100)
    assert (n_epochs, steps) == (10, 10)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=how.learning_rate)
    schedule = build_schedule(optimiser, how, n_epochs * steps)
    rates = []
    for _ in range(100):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates[:10] == pytest.approx([how.learning_rate * (i + 1) / 10 for i in range(10)])
    assert rates[55] == pytest.approx(how.learning_rate / 2)
    assert rates[-1] < how.learning_rate * 1e-3
    # Short epochs are repeated until there are enough steps.
    assert epochs_and_steps(replace(DEFAULT, epochs=3, min_steps=100, batch_size=50), 200) == (25, 4)
    assert epochs_and_steps(replace(DEFAULT, epochs=3, min_steps=100, batch_size=50), 20_000) == (3, 400)


def test_recipes_are_what_the_thesis_says():
    assert (THESIS.optimiser, THESIS.batch_size, THESIS.class_weights) == ("sgd", 128, "inverse")
    assert (THESIS.schedule, THESIS.learning_rate, THESIS.held_out_share) == ("plateau", 0.0, 0.0)
    # Its ablation differs in the weights alone, which are then one for every photo.
    assert replace(recipe("thesis_unweighted"), name="thesis", class_weights="inverse") == THESIS


def test_statistics_against_float64():
    rng = np.random.default_rng(0)
    blocks = [(1000 + rng.normal(size=(9000, 3))).astype(np.float32), rng.normal(size=(9000, 2)).astype(np.float16)]
    mean, deviation = mean_and_deviation(RowReader(blocks, torch.device("cpu")), torch.arange(100, 9000))
    exact = np.concatenate(blocks, axis=1, dtype=np.float64)[100:]
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(deviation, exact.std(axis=0), rtol=1e-4)


@pytest.mark.parametrize(("mode", "releases"), [("r", 8), ("c", 0)])
def test_pages_of_a_mapped_matrix_are_released_while_it_is_read_and_a_private_copy_is_not(
    tmp_path, monkeypatch, mode, releases
):
    monkeypatch.setattr("geoloc_core.learning.data.ROWS_BETWEEN_RELEASES", 100)
    matrix = (np.arange(4_000_000) % 7).astype(np.float16).reshape(1000, 4000)
    np.save(tmp_path / "m.npy", matrix)
    mapped = np.load(tmp_path / "m.npy", mmap_mode=mode)
    if mode == "c":
        mapped[:] = matrix
    reader = RowReader([mapped[:, :]], torch.device("cpu"))
    released = []

    class Watched:
        def __init__(self, mapping):
            self.mapping = mapping

        def madvise(self, advice):
            released.append(advice)
            self.mapping.madvise(advice)

    reader._mappings = [Watched(mapping) for mapping in reader._mappings]
    for rows in torch.randperm(1000).split(60):
        np.testing.assert_array_equal(reader.read(rows), matrix[rows].astype(np.float32))
    assert len(released) == releases


def test_weights_of_the_data_are_used_by_scheme_and_computed_where_there_are_none():
    vectors, labels = np.zeros((4, 2), np.float16), np.array([0, 0, 0, 1])
    data = TrainingData([vectors], labels, np.ones(4, dtype=bool), *np.zeros((2, 4)), np.arange(4))
    weighted = replace(data, class_weights={"inverse": np.array([0.25, 7.0])})
    assert build_objective(weighted, THESIS, 2, np.arange(4)).weights.tolist() == [0.25, 7.0]
    computed = build_objective(data, THESIS, 2, np.arange(4)).weights
    assert computed[1] / computed[0] == 3.0
