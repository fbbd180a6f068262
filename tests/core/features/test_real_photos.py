"""Every family on photos of every shape: tensors and vectors as the libraries' own processors and models make them.

The models are small and random, the preprocessing is the published one, and a published checkpoint takes the same way.
"""

import contextlib
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from PIL import Image

from geoloc_core.features.backbones import backbone
from geoloc_core.features.decoding import ImageItem, decode_into
from geoloc_core.features.encoder import Encoder, load_encoder
from geoloc_core.features.encoders import segmentation
from geoloc_core.features.encoders.segmentation import class_areas
from geoloc_core.features.specification import BackboneSpec
from geoloc_core.photos.images import ImageLimits, RefusedImage, load_image
from tests.core.features.conftest import SHAPES, cosine, drawn
from tests.core.features.families import SMALL

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def photos(request: pytest.FixtureRequest) -> list[Image.Image]:
    """Some ten real photos, the most unusual shapes among them, and re-encodings of one; without them, drawn ones."""
    try:
        folder = request.getfixturevalue("shared_data") / "photos"
    except pytest.skip.Exception:
        return [drawn(width, height) for width, height in SHAPES] + reencoded(drawn(640, 480))
    opened = []
    for path in sorted(folder.rglob("*"))[::4]:
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            with contextlib.suppress(RefusedImage):
                opened.append(load_image(path, ImageLimits()))
    opened.sort(key=lambda image: abs(np.log(image.width / image.height)))
    return [*opened[-6:], *opened[::8], *reencoded(opened[1])]


def reencoded(image: Image.Image) -> list[Image.Image]:
    """One photo as grey, CMYK, palette, 16-bit, with alpha, rotated by EXIF, as a panorama, and tiny."""
    alpha = image.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(image.size))
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    panorama = image.crop((0, 0, image.width, image.height // 9))
    variants: list[tuple[Image.Image, str, dict]] = [
        (image.convert("L"), "JPEG", {}),
        (image.convert("CMYK"), "JPEG", {}),
        (image.convert("P"), "PNG", {}),
        (deep, "PNG", {}),
        (alpha, "PNG", {}),
        (image, "JPEG", {"exif": exif}),
        (panorama, "WEBP", {}),
        (image.resize((11, 6)), "PNG", {}),
    ]
    pictures = []
    for picture, form, settings in variants:
        file = io.BytesIO()
        picture.save(file, form, **settings)
        pictures.append(load_image(file.getvalue(), ImageLimits()))
    assert pictures[5].size == (image.height, image.width)
    return pictures


def ours(encoder: Encoder, images: list[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.stack([encoder.preprocess(image) for image in images])
    return pixels, torch.cat([encoder.encode(some) for some in pixels.split(16)])


def processed(folder: Path, images: list[Image.Image], backend: str = "pil") -> torch.Tensor:
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend=backend)
    return torch.cat([processor(images=[image], return_tensors="pt")["pixel_values"] for image in images])


def open_clip_call(folder: Path, images: list[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    pixels = torch.stack([transform(image) for image in images])
    return pixels, model.eval().encode_image(pixels)


def open_clip_trunk_call(folder: Path, images: list[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    trunk: list[torch.Tensor] = []
    model.visual.ln_post.register_forward_hook(lambda module, inputs, output: trunk.append(output[:, 1:].mean(dim=1)))
    pixels = torch.stack([transform(image) for image in images])
    model.eval().encode_image(pixels)
    return pixels, trunk[0]


def hidden_state_call(folder: Path, images: list[Image.Image], pooling: str) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = processed(folder, images)
    tokens = transformers.AutoModel.from_pretrained(folder).eval()(pixel_values=pixels).last_hidden_state
    return pixels, tokens[:, 0] if pooling == "cls" else tokens.mean(dim=1)


def clip_call(folder: Path, images: list[Image.Image], pooling: str) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = processed(folder, images)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    trunk = model.vision_model(pixel_values=pixels).pooler_output
    return pixels, trunk if pooling == "trunk" else model.visual_projection(trunk)


def timm_call(folder: Path, images: list[Image.Image], pooling: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights by the library's own loader, pixels by its own transform of what the folder says."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=model.pretrained_cfg))
    pixels = torch.stack([transform(image) for image in images])
    features = model.forward_features(pixels)
    if pooling == "trunk":
        return pixels, model.forward_head(features, pre_logits=True)
    patches = features[:, model.num_prefix_tokens :]
    return pixels, features[:, 0] if pooling == "cls" else patches.mean(dim=1)


def siglip_call(folder: Path, images: list[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = processed(folder, images)
    return pixels, transformers.SiglipModel.from_pretrained(folder).eval().get_image_features(pixels).pooler_output


CALLS: dict[str, tuple[BackboneSpec, Callable[[Path, list[Image.Image]], tuple[torch.Tensor, torch.Tensor]]]] = {
    "vit, cls": (SMALL["vit"], partial(hidden_state_call, pooling="cls")),
    "vit of the sample, mean": (backbone("tiny-vit"), partial(hidden_state_call, pooling="mean")),
    "dinov2, cls": (SMALL["dinov2"], partial(hidden_state_call, pooling="cls")),
    "open_clip": (SMALL["clip"], open_clip_call),
    "open_clip of the sample": (backbone("tiny-clip"), open_clip_call),
    "open_clip, trunk": (
        backbone("tiny-clip").changed(layer="pooled", pooling="trunk", dimension=256),
        open_clip_trunk_call,
    ),
    "siglip": (SMALL["siglip"], open_clip_call),
    "metaclip 2": (SMALL["metaclip2"], open_clip_call),
    "pe-core": (SMALL["pe-core"], open_clip_call),
    "dinov3, cls": (SMALL["dinov3"], partial(timm_call, pooling="cls")),
    "dinov3, mean": (SMALL["dinov3"].changed(pooling="mean"), partial(timm_call, pooling="mean")),
    "aimv2": (SMALL["aimv2"], partial(timm_call, pooling="trunk")),
    "radio": (SMALL["radio"], partial(timm_call, pooling="trunk")),
    "streetclip": (SMALL["streetclip"], partial(clip_call, pooling="projected")),
    "siglip of transformers": (SMALL["hub-siglip"], siglip_call),
    "streetclip, trunk": (
        SMALL["streetclip"].changed(layer="pooled", pooling="trunk", dimension=64),
        partial(clip_call, pooling="trunk"),
    ),
}


@pytest.mark.parametrize("name", CALLS)
@torch.inference_mode()
def test_vectors_are_those_of_the_library(name: str, photos: list[Image.Image], checkpoints: Path):
    spec, call = CALLS[name]
    encoder = load_encoder(spec, checkpoints)
    theirs, expected = call(checkpoints / spec.name, photos)
    pixels, vectors = ours(encoder, photos)
    torch.testing.assert_close(pixels, theirs, rtol=0, atol=2e-6)
    assert cosine(vectors, expected) >= 0.99999
    # The vectors differ from photo to photo, so that a cosine near one says something.
    assert cosine(vectors[:-1], vectors[1:]) < 0.999


@pytest.mark.parametrize("spec", [SMALL["vit"], SMALL["dinov2"]], ids=lambda spec: spec.name)
@torch.inference_mode()
def test_the_library_s_other_processor_rounds_differently_by_a_level_or_two(spec, photos, checkpoints):
    """transformers has two processors, Pillow's and torchvision's; ours is the first, which the models were made with."""
    encoder = load_encoder(spec, checkpoints)
    theirs = processed(checkpoints / spec.name, photos, backend="torchvision")
    pixels, vectors = ours(encoder, photos)
    assert float((pixels - theirs).abs().max()) <= 1.01 * 2 / 255 / min(spec.std)
    assert cosine(vectors, torch.cat([encoder.encode(some) for some in theirs.split(16)])) >= 0.99999


@torch.inference_mode()
def transformers_map(spec: BackboneSpec, folder: Path, images: list[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
    """The library's processor, model and post-processing: (pixels, class of each pixel at the network's input size)."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    auto, post = transformers.AutoModelForSemanticSegmentation, processor
    if spec is SMALL["mask2former"]:
        auto, post = transformers.AutoModelForUniversalSegmentation, transformers.Mask2FormerImageProcessor()
    model = auto.from_pretrained(folder).eval()
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    sizes = [(spec.input_size, spec.input_size)] * len(images)
    maps = post.post_process_semantic_segmentation(model(pixel_values=pixels), target_sizes=sizes)
    return pixels, torch.stack(maps)


@pytest.mark.parametrize(
    "spec", [SMALL["segformer"], SMALL["upernet"], SMALL["mask2former"]], ids=lambda spec: spec.name
)
@torch.inference_mode()
def test_segmentation_is_that_of_the_library(spec: BackboneSpec, photos: list[Image.Image], checkpoints: Path):
    encoder = load_encoder(spec, checkpoints)
    photos = photos[::3]
    theirs, maps = transformers_map(spec, checkpoints / spec.name, photos)
    if spec.embedder is None:
        expected = class_areas(maps, 150)
    else:
        coloured = [Image.fromarray(segmentation.ADE20K_COLOURS[classes.numpy()]) for classes in maps]
        _, expected = hidden_state_call(checkpoints / spec.embedder.name, coloured, spec.embedder.pooling)
    pixels, vectors = ours(encoder, photos)
    torch.testing.assert_close(pixels, theirs, rtol=0, atol=2e-6)
    assert cosine(vectors, expected) >= 0.99999
    assert len(maps.unique()) >= 2


@pytest.mark.parametrize("spec", [SMALL["vit"], SMALL["dinov2"]], ids=lambda spec: spec.name)
def test_a_reduced_decode_changes_vectors_by_less_than_one_in_two_thousand(spec, shared_data, checkpoints):
    """Both interpolations, both resizes, and a crop; on large JPEGs, which alone are reduced, and a few small ones."""
    encoder, draft = load_encoder(spec, checkpoints), spec.changed(decode="draft")
    assert (spec.decoded_side, draft.decoded_side) == (0, 2 * spec.resized_side)
    paths = sorted((shared_data / "photos").rglob("*.jpg"))
    sides = []
    for path in paths:
        with contextlib.suppress(OSError), Image.open(path) as image:
            sides.append((min(image.size), path))
    large = [path for side, path in sides if side >= 2 * draft.decoded_side][:10]
    small = [path for side, path in sides if side < 2 * draft.decoded_side][:4]
    whole = np.empty((len(large + small), spec.input_size, spec.input_size, 3), np.uint8)
    reduced = whole.copy()
    for row, path in enumerate(large + small):
        # Both at once: neither gets the other's picture.
        decode_into(ImageItem("", path), {"a": spec, "b": draft}, ImageLimits(), {"a": whole, "b": reduced}, row)
    levels = np.abs(whole.astype(int) - reduced).max(axis=(1, 2, 3))
    differ = [row for row in range(len(large)) if levels[row] > 2]
    assert len(differ) >= 3
    assert levels[len(large) :].max() <= 2  # what is not reduced is read by another library, and no more
    vectors = [encoder.encode(encoder.normalize(torch.from_numpy(pixels[differ]))) for pixels in (whole, reduced)]
    assert 0.9995 <= cosine(*vectors) < 1.0


@pytest.mark.parametrize("spec", [SMALL["vit"], SMALL["clip"]], ids=lambda spec: spec.name)
def test_bfloat16_stays_near_float32(spec: BackboneSpec, photos: list[Image.Image], checkpoints: Path):
    """A random small network is no measure of a trained large one; this holds the mechanism, the bench measures."""
    _, exact = ours(load_encoder(spec, checkpoints), photos[:8])
    _, reduced = ours(load_encoder(spec.changed(dtype="bfloat16"), checkpoints), photos[:8])
    assert 0.999 <= cosine(exact, reduced) < 0.9999999
