"""The shapes of heads and what each fusion does."""

import numpy as np
import pytest
import torch

from geoloc_core.errors import ProfileError
from geoloc_core.learning.fusion import Standardise
from geoloc_core.learning.heads import build_head, kind_of
from geoloc_core.learning.recipes import FUSIONS, HEADS, HeadSpec, head_spec


def count_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


X = torch.randn(9, 10, generator=torch.Generator().manual_seed(1))


def test_thesis_mlp_has_the_layers_of_the_thesis():
    head = build_head(head_spec("mlp"), [512, 1024], 200)
    shapes = [tuple(p.shape) for name, p in head.named_parameters() if name.endswith("weight")]
    assert shapes == [(1024, 1536), (512, 1024), (256, 512), (200, 256)]
    assert count_parameters(head) == 1536 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 256 + 256 + 256 * 200 + 200


def test_normalised_fusion_does_not_see_the_length_of_a_block():
    head = build_head(HeadSpec(fusion="normalised"), [6, 4], 3)
    stretched = torch.cat([X[:, :6] * 50, X[:, 6:]], dim=1)
    torch.testing.assert_close(head(stretched), head(X))
    assert not torch.allclose(build_head(HeadSpec(), [6, 4], 3)(stretched), build_head(HeadSpec(), [6, 4], 3)(X))


def test_late_fusion_adds_the_logits_of_its_blocks():
    head = build_head(HeadSpec(fusion="late"), [6, 4], 3)
    torch.testing.assert_close(head(X), head.bodies[0](X[:, :6]) + head.bodies[1](X[:, 6:]))


def test_a_neutral_gate_changes_nothing_and_a_shut_one_hides_its_block():
    head = build_head(HeadSpec(fusion="gated"), [6, 4], 3)
    with torch.no_grad():
        head.gate.weight.zero_()
        head.gate.bias.zero_()
        torch.testing.assert_close(head(X), head.bodies[0](X))
        head.gate.bias.copy_(torch.tensor([-80.0, 0.0]))
        elsewhere = torch.cat([torch.zeros(9, 6), X[:, 6:]], dim=1)
        torch.testing.assert_close(head(X), head.bodies[0](elsewhere * 2))


def test_standardise_gives_mean_0_deviation_1_and_mutes_constant_dimensions():
    layer = Standardise(3)
    data = torch.tensor(np.random.default_rng(0).normal([5, -2, 7], [3, 0.1, 0], (5000, 3)), dtype=torch.float32)
    layer.set_statistics(data.mean(0), data.std(0, unbiased=False))
    out = layer(data)
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std(0, unbiased=False), torch.tensor([1.0, 1.0, 0.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("dims", [(512, 1024), (768, 1024), (64, 48, 96)])
def test_fusions_are_compared_at_equal_size(fusion, dims):
    concat = count_parameters(build_head(head_spec("mlp"), dims, 221))
    fused = count_parameters(build_head(HeadSpec(kind="mlp", fusion=fusion), dims, 221))
    assert fused == pytest.approx(concat, rel=0.01)
    assert fused <= concat


def test_every_named_head_is_built():
    for spec in HEADS.values():
        assert kind_of(spec).fit
        assert build_head(spec, [6, 4], 3).spec == spec


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: head_spec("forest"), "linear, mlp"),
        (lambda: HeadSpec(fusion="early"), "concat, normalised, gated, late"),
        (lambda: HeadSpec(kind="mlp", hidden=()), "hidden"),
        (lambda: kind_of(HeadSpec("forest")), "linear, mlp, probe, neighbours"),
        (lambda: kind_of(HeadSpec("probe", fusion="gated")), "concat or normalised, not gated"),
        (lambda: kind_of(HeadSpec("neighbours", fusion="gated")), "concat or normalised, not gated"),
        (lambda: HeadSpec(kind="linear", depth=3), "depth"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(TypeError if words == "depth" else ProfileError, match=words):
        make()
