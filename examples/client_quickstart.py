"""Ask a running service (`secondlook serve`) about a picture."""

from pathlib import Path

from secondlook import Client, ItemError

PICTURE = Path(__file__).with_name("picture.png")
TEXTS = ["a big red circle", "a small blue star", "a big green square"]

with Client("http://localhost:8000") as client:
    print("models:", ", ".join(f"{model.id} ({model.tier})" for model in client.models()))

    # The second image is none: it fails alone, in its place.
    for item in client.similarity([PICTURE, b"no picture"], TEXTS).items:
        if isinstance(item, ItemError):
            print(f"image {item.index}: {item.message}")
        else:
            print(f"image {item.index}: {TEXTS[item.best]}, says the {item.tiering.tier} tier")

    # By now the client knows the picture's key, and does not upload it again.
    vectors = client.embed([PICTURE, *TEXTS], model="accurate").vectors
    print("cosines:", (vectors[1:] @ vectors[0]).round(3))
