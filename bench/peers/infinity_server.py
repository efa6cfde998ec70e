"""Infinity's own command line, with the imports that its environment needs. Runs in Infinity's environment."""

from tiers.torchvision_shim import import_torchvision

import_torchvision()
from infinity_emb.cli import cli  # noqa: E402 - torchvision has to be importable first

if __name__ == "__main__":
    cli()
