"""Nearest neighbours against brute force, and the head that votes with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geoloc_core.learning import neighbours
from geoloc_core.learning.data import split_rows
from geoloc_core.learning.head_files import load_head, save_head
from geoloc_core.learning.recipes import HeadSpec, head_spec, recipe
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


def test_the_vote_by_hand():
    vote = neighbours.NeighbourVote(HeadSpec("neighbours", neighbours=3), 2, 3)
    vote.prior.copy_(torch.tensor([0.5, 0.25, 0.25]))
    vote.width.fill_(0.1)
    p = vote.vote(torch.tensor([[0.9, 0.8, 0.7]]), torch.tensor([[2, 0, 2]])).exp()[0]
    by_hand = np.array([0.25 + np.exp(-1), 0.125, 0.125 + 1 + np.exp(-2)])
    np.testing.assert_allclose(p, by_hand / by_hand.sum(), rtol=1e-5)


def test_a_head_of_neighbours_learns_and_is_kept(clusters, names, tmp_path):
    data = clusters(n=600)
    how = replace(head_spec("neighbours"), neighbours=10)
    trained = train_head(data, how, recipe("default"), names(5), device="cpu", progress=False)
    held = ~data.is_train
    blocks = [block[held] for block in data.blocks]
    posterior = trained.head.posterior(blocks)
    assert (posterior.argmax(axis=1) == data.labels[held]).mean() > 0.9
    assert len(trained.head.state["bodies.0.references"]) == len(split_rows(data, 0.1, 0).fit)
    width = trained.history["width"][trained.history["stopping_loss"].idxmin()]
    assert trained.head.state["bodies.0.width"].item() == pytest.approx(width)
    save_head(tmp_path, trained, {})
    np.testing.assert_array_equal(load_head(tmp_path).posterior(blocks), posterior)


def test_more_vectors_than_can_be_searched_are_drawn_at_random(clusters, names, monkeypatch):
    monkeypatch.setattr(neighbours, "MAX_REFERENCES", 500)
    data = clusters(n=3000)
    head = train_head(data, head_spec("neighbours"), recipe("default"), names(5), device="cpu", progress=False).head
    assert head.state["bodies.0.references"].shape == (500, 10)
    assert np.bincount(head.state["bodies.0.labels"].numpy()).min() > 50
    assert head.calibration["accuracy"] > 0.9
