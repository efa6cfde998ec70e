"""`python -m bench.peers.setup FOLDER`: an environment for each peer, and the model that all of them serve."""

import argparse
import subprocess
import sys
import venv
from pathlib import Path

from bench.peers.model import write_model

REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
PEERS = ("infinity", "litserve", "bentoml")


def main(arguments: list[str]) -> int:
    """Install what is missing; what is there already is checked by pip and kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.setup", description=__doc__)
    parser.add_argument(
        "folder", type=Path, help="where to, about 4 GB; `python -m bench --peers-folder FOLDER` uses it"
    )
    folder: Path = parser.parse_args(arguments).folder.resolve()
    for name in PEERS:
        sys.stderr.write(f"setup: {name}\n")
        install(folder / name, REQUIREMENTS / f"{name}.txt")
    sys.stderr.write("setup: the model\n")
    write_model(folder)
    return 0


def install(environment: Path, requirements: Path) -> None:
    """Make a virtual environment, unless there is one, and install exactly what the file lists."""
    if not interpreter(environment).exists():
        venv.create(environment, with_pip=True)
    command = [str(interpreter(environment)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "--requirement", str(requirements)], check=True)  # noqa: S603 - the file is ours


def interpreter(environment: Path) -> Path:
    """Return the Python of a virtual environment."""
    return environment / "bin" / "python"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
