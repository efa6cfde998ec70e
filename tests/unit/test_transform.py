"""Our image transform beside open_clip's own: the same input of the model, in less time."""

import io
import logging
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tests.pictures import encode, picture
from tiers.config import ImageLimits
from tiers.errors import BadItem
from tiers.torchvision_shim import import_torchvision
from tiers.transform import FastTransform, ImageTransform, OpenClipTransform, Preprocessing, choose_transform

import_torchvision()
import open_clip  # noqa: E402 - torchvision has to be importable first

MODELS = Path(__file__).resolve().parents[2] / "demo" / "models"
LIMITS = ImageLimits()
SIZES = ((3, 3), (5, 4), (31, 200), (96, 96), (97, 224), (301, 224), (640, 480), (3000, 200))
MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
# Both round twice, and Pillow itself is up to eight levels from exact arithmetic where sharp pixels are enlarged; a
# shift of one pixel would show in the mean.
ROUNDING = 8.01
MEAN_ROUNDING = 0.5
UNIT: dict[str, Any] = {"size": 224, "mode": "RGB", "mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}


def photograph(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Coarse noise with fine noise on it, which is what photographs look like to a filter."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(size)
    fine = generator.normal(0, 8, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + fine, 0, 255).astype(np.uint8))


def page(size: tuple[int, int]) -> Image.Image:
    """Small black letters on white, over all of it."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for top in range(0, size[1], 11):
        draw.text((0, top), "pack my box with five dozen jugs " * (size[0] // 180), fill="black")
    return image


def file_of(image: Image.Image, file_format: str, **options: object) -> bytes:
    """An image as the bytes of a file, with options of its encoder."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def jpeg(size: tuple[int, int], **options: object) -> bytes:
    """A photograph as a JPEG."""
    return file_of(photograph(size), "JPEG", **options)


def animation(file_format: str) -> bytes:
    """A photograph that turns black."""
    return file_of(photograph((301, 200)), file_format, save_all=True, append_images=[Image.new("RGB", (301, 200))])


def with_orientation(image: Image.Image, orientation: int) -> bytes:
    """A JPEG whose EXIF says how to turn it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return file_of(image, "JPEG", exif=exif)


def pair(**fields: object) -> tuple[FastTransform, OpenClipTransform]:
    """Ours and open_clip's for one configuration; values come out in grey levels."""
    document = {**UNIT, **fields}
    original = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**document), is_train=False)
    return FastTransform(Preprocessing.model_validate(document)), OpenClipTransform(original)


def levels_apart(transforms: tuple[ImageTransform, ImageTransform], data: bytes) -> float:
    """The greatest difference of two transforms of a picture, in grey levels."""
    ours, original = (transform.prepare(data, LIMITS) for transform in transforms)
    assert (ours.shape, ours.dtype, ours.is_contiguous()) == (original.shape, torch.float32, True)
    assert (ours - original).abs().mean() < MEAN_ROUNDING
    return float((ours - original).abs().max())


class Tower:
    """The image half of a model with both transforms before it."""

    def __init__(self, model: Any, preprocessing: dict[str, Any]) -> None:
        document = {**UNIT, **preprocessing}
        transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**document), False)
        self._model = model.eval()
        self._original = OpenClipTransform(transform)
        self.ours = choose_transform(document, transform)

    @torch.inference_mode()
    def cosine(self, data: bytes) -> float:
        """Of the embeddings of one picture, ours and open_clip's."""
        batch = torch.stack([self.ours.prepare(data, LIMITS), self._original.prepare(data, LIMITS)])
        ours, original = self._model.encode_image(batch, normalize=True)
        return float(ours @ original)


def shallow_clip() -> Tower:
    """ViT-B-32's input and width, in two layers of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vision = {"image_size": 224, "layers": 2, "width": 768, "patch_size": 32}
        model = open_clip.CLIP(512, vision, {"vocab_size": 8, "width": 64, "heads": 1, "layers": 1})
    constants = open_clip.constants
    return Tower(model, {"mean": constants.OPENAI_DATASET_MEAN, "std": constants.OPENAI_DATASET_STD})


@pytest.fixture(scope="module", params=["fast", "accurate", "shallow ViT-B-32"])
def tower(request: pytest.FixtureRequest) -> Tower:
    """The demo's trained models, and CLIP's most common shape."""
    torch.set_num_threads(1)  # as in a replica; several wait for each other where the tests share few cores
    if request.param.startswith("shallow"):
        return shallow_clip()
    model = open_clip.create_model(f"local-dir:{MODELS / request.param}")
    return Tower(model, open_clip.get_model_preprocess_cfg(model))


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [96, (96, 96), (64, 112), (112, 64)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_every_configuration_of_open_clip_is_matched(resize_mode: str, size: object, interpolation: str) -> None:
    """Sides, corners and padding to the pixel; values to a few levels, which is rounding."""
    transforms = pair(size=size, resize_mode=resize_mode, interpolation=interpolation, fill_color=77)

    for picture_size in SIZES:
        assert levels_apart(transforms, encode(photograph(picture_size), "BMP")) <= ROUNDING, picture_size


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("resize_mode", ["shortest", "longest"])
def test_every_mode_is_matched(mode: str, resize_mode: str) -> None:
    """Scaled in the file's own mode and converted after, padding included; nearest pixels in palettes."""
    transforms = pair(size=96, resize_mode=resize_mode, fill_color=3)

    for picture_size in ((40, 30), (301, 200)):
        image = photograph(picture_size)
        image.putalpha(Image.linear_gradient("L").resize(picture_size))
        image = image.convert("RGB").convert(mode) if mode in {"1", "L", "P", "RGB"} else image.convert(mode)

        assert levels_apart(transforms, encode(image)) <= ROUNDING


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}])
def test_every_kind_of_jpeg_is_matched(mode: str, options: dict[str, object]) -> None:
    """Grey, colour and ink; baseline and progressive."""
    data = file_of(photograph((301, 200)).convert(mode), "JPEG", **options)

    assert levels_apart(pair(size=96), data) <= ROUNDING


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(3, 400),
    height=st.integers(3, 400),
    mode=st.sampled_from(MODES),
    resize_mode=st.sampled_from(["shortest", "longest", "squash"]),
    size=st.tuples(st.integers(8, 120), st.integers(8, 120)),
)
def test_every_geometry_is_matched(width: int, height: int, mode: str, resize_mode: str, size: tuple[int, int]) -> None:
    """Whatever the sides: the same whole numbers, rounded the same way."""
    if max(width, height) > 7 * min(width, height):
        height = width
    data = encode(photograph((width, height)).convert(mode))

    assert levels_apart(pair(size=size, resize_mode=resize_mode), data) <= ROUNDING


def colour_png(mode: str) -> bytes:
    """A photograph converted to a mode of PNG."""
    return encode(photograph((301, 200)).convert(mode))


FILES: dict[str, Callable[[], bytes]] = {
    **{f"{size[0]}x{size[1]}": partial(jpeg, size) for size in SIZES},
    **{f"{mode} PNG": partial(colour_png, mode) for mode in MODES},
    **{f"turn {turn}": partial(with_orientation, photograph((301, 200)), turn) for turn in range(1, 9)},
    "CMYK": lambda: file_of(photograph((301, 200)).convert("CMYK"), "JPEG"),
    "progressive": partial(jpeg, (301, 200), progressive=True),
    "BMP": lambda: file_of(photograph((301, 200)), "BMP"),
    "WebP": lambda: file_of(photograph((301, 200)), "WEBP"),
    "animated GIF": partial(animation, "GIF"),
    "animated WebP": partial(animation, "WEBP"),
    "scene": partial(picture, 1, "JPEG"),
    "halved": partial(jpeg, (1920, 1792)),
    "page": lambda: file_of(page((1920, 1792)), "JPEG"),
}


@cache
def example(name: str) -> bytes:
    """One of `FILES`, made once for all models."""
    return FILES[name]()


@pytest.mark.parametrize("name", FILES)
def test_embedding_is_open_clips(tower: Tower, name: str) -> None:
    """The bound that is promised, over sizes, modes, orientations, formats, and halved decoding."""
    assert isinstance(tower.ours, FastTransform)
    assert tower.cosine(example(name)) >= 0.999


def test_large_photograph_is_decoded_at_half_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its pixels differ a little from those of a full decode, and not where the model needs them."""
    data = jpeg((1920, 1600))

    assert 0 < levels_apart(pair(size=96), data) < 8
    monkeypatch.setattr("tiers.transform.HALVED_OVERSAMPLING", 20.0)
    assert levels_apart(pair(size=96), data) <= ROUNDING


def test_page_of_text_is_decoded_in_full() -> None:
    """A halved one would be brighter: its ringing is not clipped."""
    assert levels_apart(pair(size=96), file_of(page((1920, 1600)), "JPEG")) <= ROUNDING


def test_odd_sides_are_decoded_in_full() -> None:
    """Half of them would be a little more than the picture."""
    assert levels_apart(pair(size=96), jpeg((1921, 1600))) <= ROUNDING


def test_resampling_without_vector_instructions_is_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch would be slower, the kept box alone is scaled; the values are the same."""
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "DEFAULT")

    assert all(levels_apart(pair(size=96), encode(photograph(size))) <= ROUNDING for size in SIZES)


def test_sixteen_bits_are_shown_and_not_white() -> None:
    """Deliberately not open_clip's: Pillow's conversion would make all that is not nearly black white."""
    ramp = np.linspace(0, 65535, 96, dtype=np.uint16)[None].repeat(96, axis=0)
    ours, _ = pair(size=96)

    levels = ours.prepare(encode(Image.fromarray(ramp)), LIMITS)

    np.testing.assert_allclose(levels[0], ramp >> 8, atol=0.01)


def test_strip_that_would_vanish_is_one_pixel() -> None:
    """open_clip fails on it; a caller would be told of a bad picture that is none."""
    ours, _ = pair(size=32, resize_mode="longest")

    assert ours.geometry((300, 3)).kept == (32, 1)
    assert ours.prepare(encode(Image.new("RGB", (300, 3), "white")), LIMITS).max() == pytest.approx(255)


@pytest.mark.parametrize("change", [{"gamma": 2.2}, {"mode": "L"}, {"resize_mode": "fill"}, {"size": None}])
def test_unknown_configuration_keeps_open_clips_transform(
    change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """Never a guess, and the log says so."""
    _, original = pair(size=32)

    with caplog.at_level(logging.WARNING, "tiers.transform"):
        chosen = choose_transform({**UNIT, **change}, original._transform)

    assert isinstance(chosen, OpenClipTransform)
    assert "does not know" in caplog.text


def test_transform_that_differs_keeps_open_clips(caplog: pytest.LogCaptureFixture) -> None:
    """A new release of open_clip may compute something else under the old names."""
    _, original = pair(size=32, resize_mode="longest")

    with caplog.at_level(logging.WARNING, "tiers.transform"):
        chosen = choose_transform({**UNIT, "size": 32}, original._transform)

    assert isinstance(chosen, OpenClipTransform)
    assert "differs" in caplog.text


@pytest.mark.parametrize("place", [0, 1])
def test_truncated_picture_is_bad(place: int) -> None:
    """With either transform."""
    data = jpeg((301, 200))

    with pytest.raises(BadItem) as caught:
        pair(size=32)[place].prepare(data[: len(data) // 2], LIMITS)

    assert caught.value.code == "bad_image"


def test_truncated_large_photograph_is_bad() -> None:
    """Halving does not make a damaged file pass."""
    data = jpeg((1920, 1600))

    with pytest.raises(BadItem):
        pair(size=32)[0].prepare(data[: len(data) // 2], LIMITS)
