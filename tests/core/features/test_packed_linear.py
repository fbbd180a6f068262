"""Packed linear layers compute what torch's do, wherever they stand; a batch stays within the processor's cache."""

import pytest
import torch
from torch import nn

from geoloc_core.features.encoder import Encoder
from geoloc_core.features.forward import find_batch_size
from geoloc_core.features.packed_linear import PackedLinear, pack_linears

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    torch.manual_seed(inputs * outputs)
    return nn.Linear(inputs, outputs, bias=bias).requires_grad_(False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 37), (5, 37), (2, 3, 37), (2, 3, 4, 37)])
def test_it_computes_what_the_layer_does(shape: tuple[int, ...], bias: bool) -> None:
    layer = linear(37, 53, bias)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(PackedLinear(layer)(inputs), layer(inputs), rtol=1e-5, atol=1e-6)


def test_it_takes_rows_that_do_not_lie_side_by_side() -> None:
    layer = linear(16, 8)
    tokens = torch.randn((3, 5, 16), generator=torch.Generator().manual_seed(2))
    for view in (tokens[:, 0], tokens.transpose(0, 1), tokens[:, ::2]):
        torch.testing.assert_close(PackedLinear(layer)(view), layer(view), rtol=1e-5, atol=1e-6)


def test_plain_layers_are_replaced_wherever_they_stand_and_no_others() -> None:
    network = nn.ModuleDict(
        {
            "one": nn.Sequential(linear(4, 8), nn.GELU(), linear(8, 4)),
            "attention": nn.MultiheadAttention(8, 2),
            "narrow": linear(4, 4).half(),
            "convolution": nn.Conv2d(3, 4, 1),
        }
    ).requires_grad_(False)
    inputs = torch.randn((2, 4), generator=torch.Generator().manual_seed(3))
    before = network["one"](inputs)
    assert pack_linears(network) == 2
    assert [type(part) for part in network["one"]] == [PackedLinear, nn.GELU, PackedLinear]
    torch.testing.assert_close(network["one"](inputs), before, rtol=1e-5, atol=1e-6)
    assert type(network["narrow"]) is nn.Linear
    assert not [part for part in network["attention"].modules() if isinstance(part, PackedLinear)]


def test_encoders_are_packed_and_know_their_widest_tensor(sample_encoders: dict[str, Encoder]) -> None:
    for encoder in sample_encoders.values():
        modules = [part for one in vars(encoder).values() if isinstance(one, nn.Module) for part in one.modules()]
        assert any(isinstance(part, PackedLinear) for part in modules), encoder.spec.name
        assert not any(type(part) is nn.Linear for part in modules)
        assert encoder.widest_bytes > 4 * encoder.dimension


@pytest.mark.parametrize(
    ("widest", "batch"),
    [
        (4 * 50 * 3072, 16),  # ViT-B/32 at 224: 49 patches and the class token, the wider layer of the MLP
        (4 * 197 * 3072, 4),  # ViT-B/16
        (4 * 257 * 4096, 4),  # ViT-L/14
        (4 * 577 * 4096, 2),  # ViT-L/14 at 336
        (1000, 32),
    ],
)
def test_a_batch_stays_within_the_cache(
    sample_encoders: dict[str, Encoder], widest: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = list(sample_encoders.values())[:2]
    monkeypatch.setattr(one, "widest_bytes", widest)
    monkeypatch.setattr(other, "widest_bytes", 100)
    assert find_batch_size({"one": one, "other": other}) == batch
    assert find_batch_size({"other": other}) == 32
