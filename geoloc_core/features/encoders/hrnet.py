"""HRNetV2 with the C1 head, as MIT CSAIL published it for scene parsing (ADE20K, 150 classes).

Sources: architecture, Sun et al. (2019), arXiv 1904.04514; weights and layout, MIT CSAIL's semantic-segmentation-pytorch,
model "ade20k-hrnetv2-c1". The encoder is timm's HRNet without its classifier, whose parameters bear the published names;
timm enlarges coarse branches by repetition where CSAIL interpolates, so that is changed here.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate

TRAINING_ONLY = ("_tmp_running_mean", "_tmp_running_var", "_running_iter", "num_batches_tracked")
"""Ends of names that CSAIL's synchronised batch normalisation keeps for training; inference does not use them."""


class HighResolutionSegmenter(nn.Module):
    """Encoder and decoder; `architecture` is a configuration of timm's HRNet, empty for W48."""

    def __init__(self, n_classes: int, architecture: Mapping[str, Any]) -> None:
        super().__init__()
        from timm.models.hrnet import HighResolutionNet, cfg_cls

        config = dict(architecture) or dict(cfg_cls["hrnet_w48"])
        self.encoder = HighResolutionNet(config, head="none")
        for module in self.encoder.modules():
            if isinstance(module, nn.Upsample):
                module.mode, module.align_corners = "bilinear", False
        channels = sum(config["stage4"]["num_channels"])
        narrow = channels // 4
        convolution = nn.Conv2d(channels, narrow, kernel_size=3, padding=1, bias=False)
        cbr = nn.Sequential(convolution, nn.BatchNorm2d(narrow), nn.ReLU())
        self.decoder = nn.Sequential(OrderedDict(cbr=cbr, conv_last=nn.Conv2d(narrow, n_classes, kernel_size=1)))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, H, W), sides multiples of 32 -> class scores (B, K, H/4, W/4)."""
        branches = self.encoder.forward_features(pictures)
        size = branches[0].shape[-2:]
        enlarged = [interpolate(branch, size=size, mode="bilinear", align_corners=False) for branch in branches[1:]]
        return self.decoder(torch.cat([branches[0], *enlarged], dim=1))


def load_published(model: HighResolutionSegmenter, encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> None:
    """Fill `model` from published encoder and decoder states. Raises ValueError naming what is missing or too much."""
    for part, state in ((model.encoder, encoder), (model.decoder, decoder)):
        report = part.load_state_dict(state, strict=False)
        missing, extra = ([name for name in names if not name.endswith(TRAINING_ONLY)] for names in report)
        if missing or extra:
            raise ValueError(f"{len(missing)} weights are missing {missing[:2]}, {len(extra)} are unknown {extra[:2]}")
