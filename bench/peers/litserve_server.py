"""CLIP on LitServe, as its users write it. Runs in LitServe's environment: `python -m ... WEIGHTS PORT`."""

import base64
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from tiers.torchvision_shim import import_torchvision

import_torchvision()
import litserve  # noqa: E402 - torchvision has to be importable first
import open_clip  # noqa: E402

MAX_BATCH = 32
BATCH_TIMEOUT_S = 0.05
REQUEST_TIMEOUT_S = 120


class Clip(litserve.LitAPI):  # type: ignore[misc] # LitServe is not installed where types are checked
    """Embeds texts on one path or images on another, whichever it was made for."""

    def __init__(self, kind: str, weights: str) -> None:
        super().__init__(api_path=f"/{kind}", max_batch_size=MAX_BATCH, batch_timeout=BATCH_TIMEOUT_S)
        self._kind = kind
        self._weights = weights

    def setup(self, device: str) -> None:
        """Load the model, once in every worker."""
        model, _, self._transform = open_clip.create_model_and_transforms("ViT-B-32", pretrained=self._weights)
        self._model = model.eval().to(device)
        self._tokenizer = open_clip.get_tokenizer("ViT-B-32")

    def decode_request(self, request: Mapping[str, str]) -> torch.Tensor:
        """Tokenize the text, or decode and transform the image."""
        prepared: torch.Tensor
        if self._kind == "text":
            prepared = self._tokenizer([request["text"]])[0]
        else:
            prepared = self._transform(Image.open(io.BytesIO(base64.b64decode(request["image"]))))
        return prepared

    @torch.inference_mode()
    def predict(self, batch: torch.Tensor) -> Any:
        """Embed a batch that LitServe has stacked."""
        encode = self._model.encode_text if self._kind == "text" else self._model.encode_image
        return encode(batch, normalize=True).numpy()

    def encode_response(self, output: Any) -> dict[str, Sequence[float]]:
        """Return one embedding as JSON."""
        return {"embedding": output.tolist()}


def main(arguments: Sequence[str]) -> None:
    """Serve until told to end."""
    weights, port = arguments
    server = litserve.LitServer(
        [Clip("text", weights), Clip("image", weights)],
        accelerator="cpu",
        timeout=REQUEST_TIMEOUT_S,
        fast_queue=True,  # the other queue is a process of its own, and batches stay small
    )
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1:])
