"""The encoder with real models: open_clip's own numbers, and nothing that one bad input can spoil."""

import json
import logging
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.pictures import encode, picture
from tests.tiny_model import MODEL, OpenClip, register_tiny_architecture, tiny_config, write_tiny_model
from tiers.config import ImageLimits, ModelConfig
from tiers.encoder import Encoder
from tiers.errors import BadItem, ModelUnavailable

DEMO = Path(__file__).resolve().parents[2] / "demo" / "models"
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
PICTURES = [
    picture(1),
    picture(2, "JPEG"),
    encode(NOISE.resize((20, 90)), "WEBP"),
    encode(NOISE.convert("L")),
    encode(NOISE.convert("P"), "GIF"),
    encode(NOISE.convert("RGBA")),
    encode(NOISE.convert("CMYK"), "JPEG"),
    encode(NOISE.resize((3, 4)), "BMP"),
]
TEXTS = [
    "a red circle",
    "A RED  CIRCLE!",
    "two blue squares left of a star",
    "\u00e9t\u00e9 \U0001f408",
    "x" * 40,
    "&amp; <b>",
]


def make_encoder(folder: Path, **config: object) -> Encoder:
    """Load a tiny model from a folder."""
    return Encoder(tiny_config(folder, **config), ImageLimits())


def embed_images(encoder: Encoder, files: list[bytes]) -> NDArray[np.float32]:
    """Embed encoded pictures in one batch."""
    return encoder.encode_images([encoder.prepare_image(data) for data in files])


def embed_texts(encoder: Encoder, texts: list[str]) -> NDArray[np.float32]:
    """Embed texts in one batch."""
    return encoder.encode_texts([encoder.prepare_text(text) for text in texts])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on disk."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    """The tiny model, loaded."""
    return make_encoder(folder)


@pytest.mark.parametrize("model", ["tiny", "demo"])
def test_embeddings_are_open_clips_own(folder: Path, model: str) -> None:
    """Batched here, one by one there: every cosine is within 1e-4 of one."""
    tiny, demo = (folder, folder / "merges.txt.gz"), (DEMO / "fast", DEMO / "bpe_vocab.txt.gz")
    place, bpe_file = tiny if model == "tiny" else demo
    encoder = make_encoder(place, bpe_file=str(bpe_file))
    direct = OpenClip(place, bpe_file)

    images, texts = embed_images(encoder, PICTURES), embed_texts(encoder, TEXTS)

    np.testing.assert_allclose((images * direct.images(PICTURES)).sum(axis=1), 1.0, atol=1e-4)
    np.testing.assert_allclose((texts * direct.texts(TEXTS)).sum(axis=1), 1.0, atol=1e-4)


def test_embeddings_are_float32_of_unit_length(encoder: Encoder) -> None:
    """One row an item, in the model's dimension."""
    images, texts = embed_images(encoder, PICTURES), embed_texts(encoder, TEXTS)

    assert (images.shape, texts.shape) == ((len(PICTURES), 16), (len(TEXTS), 16))
    assert {images.dtype.name, texts.dtype.name} == {"float32"}
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([images, texts]), axis=1), 1.0, atol=1e-6)


def test_neighbours_in_a_batch_change_nothing(encoder: Encoder) -> None:
    """An item's embedding is its own, whoever it is batched with."""
    together = embed_images(encoder, PICTURES)

    alone = np.concatenate([embed_images(encoder, [data]) for data in PICTURES])

    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_description_is_what_the_model_says_of_itself(encoder: Encoder) -> None:
    """Sizes, scale and names, for keys and for callers."""
    description = encoder.description

    assert (description.model, description.precision) == ("tiny", "fp32")
    assert (description.dimension, description.context_length, description.image_size) == (16, 16, (32, 32))
    assert description.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    assert (description.logit_bias, description.has_sigmoid) == (0.0, False)


def test_model_with_a_bias_is_a_sigmoid_model(tmp_path: Path) -> None:
    """Its bias is part of every logit."""
    encoder = make_encoder(write_tiny_model(tmp_path, init_logit_bias=-10.0))

    assert (encoder.description.logit_bias, encoder.description.has_sigmoid) == (-10.0, True)


def test_name_in_the_configuration_is_the_models_id(folder: Path) -> None:
    """The operator's name goes before the folder's."""
    assert make_encoder(folder, name="our-clip").description.model == "our-clip"


def test_model_may_be_shortened_only_where_the_operator_says_so(folder: Path) -> None:
    """Nothing in the weights tells it."""
    assert not make_encoder(folder).description.is_matryoshka
    assert make_encoder(folder, matryoshka=True).description.is_matryoshka


def test_revision_is_of_the_weights_and_not_of_their_place(tmp_path: Path, encoder: Encoder) -> None:
    """Equal weights elsewhere are one revision; other weights are another."""
    copy = make_encoder(write_tiny_model(tmp_path / "copy"))
    other = make_encoder(write_tiny_model(tmp_path / "other", seed=1))

    assert copy.description.revision == encoder.description.revision
    assert other.description.revision != encoder.description.revision


def test_preprocessing_version_changes_with_the_preprocessing(folder: Path, encoder: Encoder, tmp_path: Path) -> None:
    """Another mean is another vector for the same picture, so it is another name in every key."""
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
    config["preprocess_cfg"]["mean"] = [0.5, 0.5, 0.5]
    changed = write_tiny_model(tmp_path)
    (changed / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")

    description = make_encoder(changed).description

    assert description.preprocessing != encoder.description.preprocessing
    assert description.revision == encoder.description.revision


def test_random_weights_are_the_same_each_time_and_said_to_be_random(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Benchmarks are repeatable, and nobody takes their answers for answers."""
    register_tiny_architecture(tmp_path, "tiny-for-tests")
    config = ModelConfig(architecture="tiny-for-tests", pretrained="random")

    with caplog.at_level(logging.WARNING, "tiers.encoder"):
        one, other = Encoder(config, ImageLimits()), Encoder(config, ImageLimits())

    assert one.description == other.description
    assert one.description.model == "tiny-for-tests/random"
    assert "RANDOM WEIGHTS" in caplog.text


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_stays_near(folder: Path, encoder: Encoder, precision: str) -> None:
    """Half the bits, nearly the same direction, unit length in float32 and a name of its own."""
    half = make_encoder(folder, precision=precision)

    images, texts = embed_images(half, PICTURES), embed_texts(half, TEXTS)

    assert half.description.precision == precision
    assert ((images * embed_images(encoder, PICTURES)).sum(axis=1) > 0.995).all()
    assert ((texts * embed_texts(encoder, TEXTS)).sum(axis=1) > 0.995).all()
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "pretrained"),
    [("local-dir:/nowhere", None), ("no-such-model", "random"), ("ViT-B-32", "no-such-tag")],
)
def test_model_that_is_not_there_is_unavailable(architecture: str, pretrained: str | None) -> None:
    """Said with its name; never a model with random weights in its place."""
    with pytest.raises(ModelUnavailable, match=architecture):
        Encoder(ModelConfig(architecture=architecture, pretrained=pretrained), ImageLimits())


def test_folder_without_weights_is_unavailable(tmp_path: Path) -> None:
    """A configuration alone is not a model."""
    folder = write_tiny_model(tmp_path)
    (folder / "open_clip_pytorch_model.bin").unlink()

    with pytest.raises(ModelUnavailable):
        make_encoder(folder)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_truncated_picture_is_a_bad_item(encoder: Encoder, share: float) -> None:
    """It never reaches the model."""
    data = picture(3, "JPEG")

    with pytest.raises(BadItem) as caught:
        encoder.prepare_image(data[: int(len(data) * share)])

    assert caught.value.code == "bad_image"


def test_palette_with_transparency_has_its_colours(encoder: Encoder) -> None:
    """As open_clip converts it: transparency is left out of account, without a warning."""
    palette = NOISE.convert("P", palette=Image.Palette.ADAPTIVE)
    opaque = encoder.prepare_image(encode(palette))
    palette.info["transparency"] = bytes(range(256))

    assert encoder.prepare_image(encode(palette)).equal(opaque)


def test_text_over_the_context_is_cut_and_its_tokens_are_counted_whole(encoder: Encoder) -> None:
    """`usage` says what was sent, start and end included; more than the context is how a caller knows of the cut."""
    short, full, long = (encoder.prepare_text("cat " * words) for words in (1, 14, 15))

    assert (short.token_count, full.token_count, long.token_count) == (3, 16, 17)
    assert full.ids.tolist() == long.ids.tolist()
    assert encoder.description.context_length == 16


def test_texts_of_all_lengths_are_open_clips_own(folder: Path, encoder: Encoder) -> None:
    """Cut to the longest of their batch, in two runs, and in the caller's order."""
    texts = ["cat " * (1 + place * 7 % 14) + "!" * (place % 3) for place in range(64)]

    cut = embed_texts(encoder, texts)

    np.testing.assert_allclose(cut, OpenClip(folder, folder / "merges.txt.gz").texts(texts), atol=1e-5)
    assert encoder.text_tower.cuts


def test_model_that_reads_padding_is_not_cut(tmp_path: Path) -> None:
    """Attention to both sides and the last position's output: SigLIP's way."""
    text = {**MODEL["text_cfg"], "no_causal_mask": True, "pool_type": "last"}
    place = write_tiny_model(tmp_path, text_cfg=text)

    encoder = make_encoder(place)

    assert not encoder.text_tower.cuts
    np.testing.assert_allclose(
        embed_texts(encoder, TEXTS), OpenClip(place, place / "merges.txt.gz").texts(TEXTS), atol=1e-5
    )


@pytest.mark.parametrize("text", ["\ud83d", "cat \udc08", " ", "\x00", "\u202e\u0300" * 20])
def test_strange_text_is_embedded(encoder: Encoder, text: str) -> None:
    """Halves of characters, spaces, zeros and marks without letters have finite embeddings."""
    assert np.isfinite(embed_texts(encoder, [text])).all()


def test_endless_word_is_embedded_in_milliseconds(encoder: Encoder) -> None:
    """Its letters are counted; they take no longer than those of words."""
    started = time.process_time()

    text = encoder.prepare_text("a cat " + "x" * 16_000)

    assert time.process_time() - started < 1
    assert text.token_count == 16_000 + 4
    assert np.isfinite(encoder.encode_texts([text])).all()
