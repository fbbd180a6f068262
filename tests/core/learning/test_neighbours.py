"""Nearest neighbours against brute force, and the head that votes with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geoloc_core.errors import CheckpointError, InputError
from geoloc_core.learning import neighbour_index, neighbours, voting
from geoloc_core.learning.data import divide
from geoloc_core.learning.head_files import load_head, save_head
from geoloc_core.learning.recipes import head_spec, recipe
from geoloc_core.learning.train import train_head


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_nearest_is_brute_force_in_pieces(monkeypatch, dtype):
    monkeypatch.setattr(neighbours, "QUERIES_AT_ONCE", 7)
    monkeypatch.setattr(neighbours, "REFERENCES_AT_ONCE", 13)
    generator = torch.Generator().manual_seed(0)
    references = torch.randn(101, 8, generator=generator).to(dtype)
    queries = torch.randn(20, 8, generator=generator)
    products, rows = neighbours.nearest(queries, references, 5)
    everything = queries.double() @ references.double().T
    best = everything.sort(dim=1, descending=True)
    assert torch.equal(rows, best.indices[:, :5])
    torch.testing.assert_close(products.double(), best.values[:, :5], rtol=1e-5, atol=1e-5)


def test_equal_products_keep_the_order_of_the_rows(monkeypatch):
    monkeypatch.setattr(neighbours, "REFERENCES_AT_ONCE", 2)
    references = torch.tensor([[1.0, 0.0]] * 5)
    products, rows = neighbours.nearest(torch.tensor([[1.0, 0.0]]), references, 4)
    assert sorted(rows[0].tolist()) == rows[0].tolist()
    assert products[0].tolist() == [1.0] * 4


def test_fewer_references_than_neighbours():
    products, rows = neighbours.nearest(torch.eye(2), torch.eye(2), 5)
    assert rows.tolist() == [[0, 1], [1, 0]]
    assert products.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert neighbours.nearest(torch.zeros(0, 2), torch.eye(2), 1)[1].shape == (0, 1)


def test_refusal():
    with pytest.raises(InputError, match="no neighbours"):
        neighbours.nearest(torch.eye(2), torch.zeros(0, 2), 1)


def test_the_vote_by_hand():
    vote = neighbours.NeighbourVote(2, 3, 4, neighbours=3)
    vote.prior.copy_(torch.tensor([0.5, 0.25, 0.25]))
    vote.width.fill_(0.1)
    p = vote.vote(torch.tensor([[0.9, 0.8, 0.7]]), torch.tensor([[2, 0, 2]])).exp()[0]
    by_hand = np.array([0.25 + np.exp(-1), 0.125, 0.125 + 1 + np.exp(-2)])
    np.testing.assert_allclose(p, by_hand / by_hand.sum(), rtol=1e-5)


def test_a_head_of_neighbours_learns_and_is_kept(clusters, names, tmp_path):
    data = clusters(n=600)
    how = replace(head_spec("knn"), neighbours=10)
    trained = train_head(data, how, recipe("default"), names(5), device="cpu", progress=False)
    held = ~data.is_train
    blocks = [block[held] for block in data.blocks]
    posterior = trained.head.posterior(blocks)
    assert (posterior.argmax(axis=1) == data.labels[held]).mean() > 0.9
    assert trained.head.spec.references == len(divide(data, 0.1, 0).fit)
    save_head(tmp_path, trained, {})
    np.testing.assert_array_equal(load_head(tmp_path).posterior(blocks), posterior)


def test_the_width_is_chosen_on_the_photos_that_decide(clusters, names):
    trained = train_head(
        clusters(n=600, spread=2.0), head_spec("knn"), recipe("default"), names(5), device="cpu", progress=False
    )
    history = trained.history
    assert trained.head.state["bodies.0.width"].item() == pytest.approx(
        history.loc[history["stopping_loss"].idxmin(), "width"]
    )
    assert trained.best_epoch == history["stopping_loss"].idxmin() + 1


def unit_clusters(n, dimension=64, n_centres=200, seed=0):
    """Vectors of length 1 around centres, as embeddings lie: near photos are of a kind."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_centres, dimension))
    vectors = centres[rng.integers(0, n_centres, n)] + 0.7 * rng.normal(size=(n, dimension))
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).float()


def test_the_index_finds_nearly_all_of_the_exact_neighbours():
    """20 nearest of 60,000 references: recall against the exact search, and products that are true cosines."""
    pytest.importorskip("faiss")
    everything = unit_clusters(60_300)
    references, queries = everything[:60_000], everything[60_000:]
    content = neighbour_index.build_index(references[::5], references.split(7_000), len(references))
    index = neighbour_index.open_index(content)
    assert index.ntotal == 60_000
    products, rows = neighbour_index.nearest_in_index(index, queries, 20)
    _, exact = neighbours.nearest(queries, references, 20)
    recall = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(rows.tolist(), exact.tolist(), strict=True)])
    assert recall >= 0.9
    by_hand = (queries.unsqueeze(1) * references[rows]).sum(dim=2)
    torch.testing.assert_close(products, by_hand, rtol=0, atol=2e-3)
    assert index.nprobe < 0.1 * index.nlist


def test_more_references_than_are_searched_exactly_are_looked_up_in_an_index(clusters, names, tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    data = clusters(n=3000)
    exact = train_head(data, head_spec("knn"), recipe("default"), names(5), device="cpu", progress=False)
    monkeypatch.setattr(voting, "MAX_REFERENCES", 500)
    indexed = train_head(data, head_spec("knn"), recipe("default"), names(5), device="cpu", progress=False)
    assert indexed.head.spec.references == exact.head.spec.references > 500
    assert indexed.head.spec.index_bytes > 0 == exact.head.spec.index_bytes
    assert len(indexed.head.state["bodies.0.references"]) == 0
    held = [block[~data.is_train] for block in data.blocks]
    same = indexed.head.posterior(held).argmax(axis=1) == exact.head.posterior(held).argmax(axis=1)
    assert same.mean() > 0.97
    save_head(tmp_path, indexed, {})
    np.testing.assert_allclose(load_head(tmp_path).posterior(held), indexed.head.posterior(held), rtol=1e-5)


def test_without_faiss_a_million_are_kept_and_an_index_is_refused(clusters, names, monkeypatch, caplog):
    monkeypatch.setattr(neighbour_index, "available", lambda: False)
    monkeypatch.setattr(voting, "MAX_REFERENCES", 500)
    trained = train_head(clusters(n=3000), head_spec("knn"), recipe("default"), names(5), device="cpu", progress=False)
    assert (trained.head.spec.references, trained.head.spec.index_bytes) == (500, 0)
    assert "geoloc[neighbours]" in caplog.text
    with pytest.raises(CheckpointError, match="geoloc\\[neighbours\\]"):
        neighbour_index.open_index(torch.zeros(3, dtype=torch.uint8))
