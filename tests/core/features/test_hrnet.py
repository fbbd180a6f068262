"""HRNetV2 with the C1 head: MIT CSAIL's names, and its way of joining branches."""

import pytest
import torch
from torch.nn.functional import interpolate, relu

from geoloc_core.errors import CheckpointError
from geoloc_core.features.encoder import load_encoder
from geoloc_core.features.encoders import HRNET_FILES
from geoloc_core.features.encoders.hrnet import HighResolutionSegmenter, load_published
from tests.core.features.families import SMALL


def small() -> HighResolutionSegmenter:
    torch.manual_seed(3)
    model = HighResolutionSegmenter(150, SMALL["hrnet"].architecture)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0.0, 0.3)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


def test_the_full_size_network_has_the_published_names_and_shapes():
    """W48: 720 channels joined (48 + 96 + 192 + 384), 150 classes; names as in CSAIL's checkpoints."""
    with torch.device("meta"):
        model = HighResolutionSegmenter(150, {})
    encoder = {name: tuple(value.shape) for name, value in model.encoder.state_dict().items()}
    decoder = {name: tuple(value.shape) for name, value in model.decoder.state_dict().items()}
    assert encoder["conv1.weight"] == (64, 3, 3, 3)
    assert encoder["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert encoder["transition1.0.0.weight"] == (48, 256, 3, 3)
    assert encoder["transition3.3.0.0.weight"] == (384, 192, 3, 3)
    assert encoder["stage2.0.fuse_layers.0.1.0.weight"] == (48, 96, 1, 1)
    assert encoder["stage3.3.branches.2.3.conv2.weight"] == (192, 192, 3, 3)
    assert encoder["stage4.2.fuse_layers.3.0.2.0.weight"] == (384, 48, 3, 3)
    assert decoder == {
        "cbr.0.weight": (180, 720, 3, 3),
        **{f"cbr.1.{name}": (180,) for name in ("weight", "bias", "running_mean", "running_var")},
        "cbr.1.num_batches_tracked": (),
        "conv_last.weight": (150, 180, 1, 1),
        "conv_last.bias": (150,),
    }
    # Each of the 305 batch normalisations keeps five tensors, each of the 305 convolutions before them one.
    assert len(encoder) == 6 * 305


@torch.inference_mode()
def test_branches_are_joined_by_interpolation():
    """The last stage and the head, step by step as CSAIL's code states them, from the same weights."""
    model = small()
    inputs: list[list[torch.Tensor]] = []
    stage = model.encoder.stage4[0]
    stage.register_forward_pre_hook(lambda module, arguments: inputs.append([one.clone() for one in arguments[0]]))
    pictures = torch.randn(2, 3, 96, 64)
    scores = model(pictures)
    branches = [branch(one) for branch, one in zip(stage.branches, inputs[0], strict=True)]
    joined = []
    for i in range(4):
        total = torch.zeros(())
        for j in range(4):
            if j == i:
                part = branches[j]
            elif j < i:
                part = stage.fuse_layers[i][j](branches[j])
            else:
                convolution, norm, _ = stage.fuse_layers[i][j]
                part = norm(convolution(branches[j]))
                part = interpolate(part, size=branches[i].shape[-2:], mode="bilinear", align_corners=False)
            total = total + part
        joined.append(relu(total))
    up = [interpolate(one, size=joined[0].shape[-2:], mode="bilinear", align_corners=False) for one in joined]
    head = model.decoder
    expected = head.conv_last(relu(head.cbr[1](head.cbr[0](torch.cat(up, dim=1)))))
    assert scores.shape == (2, 150, 24, 16)
    torch.testing.assert_close(scores, expected)


def test_states_that_do_not_fit_are_refused():
    model, state = small(), dict(small().encoder.state_dict())
    decoder = model.decoder.state_dict()
    load_published(model, {**state, "bn1._tmp_running_mean": torch.ones(3)}, decoder)
    with pytest.raises(ValueError, match="1 weights are missing"):
        load_published(model, {name: value for name, value in state.items() if name != "conv2.weight"}, decoder)
    with pytest.raises(ValueError, match="1 are unknown"):
        load_published(model, {**state, "classifier.weight": torch.ones(3)}, decoder)


def test_a_pickle_that_carries_code_is_refused(tmp_path):
    spec = SMALL["hrnet"]
    load_encoder(spec, tmp_path)
    folder = tmp_path / spec.name
    torch.save({"conv1.weight": print}, folder / HRNET_FILES[0])
    copy = spec.changed(weights=f"path:{folder}")
    with pytest.raises(CheckpointError, match="is not HRNetV2 with a C1 head"):
        load_encoder(copy, tmp_path / "other")
