"""The client is light: it brings neither the service nor its libraries along."""

import subprocess
import sys
from importlib import import_module

import pytest

import secondlook

# Processor time: what it takes does not depend on what else the machine does.
SCRIPT = """
import sys, time
began = time.process_time()
from secondlook import Client
Client("http://localhost:8000").close()
print(time.process_time() - began)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
HEAVY = {"ray", "torch", "open_clip", "faiss", "pydantic", "numpy", "PIL", "router", "cache", "tiers"}


def run_script() -> tuple[float, set[str]]:
    """Seconds that importing took, and the packages that are loaded after it."""
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    took_s, packages = run.stdout.splitlines()
    return float(took_s), set(packages.split())


def test_client_imports_neither_ray_nor_torch_and_is_quick() -> None:
    """In a process of its own."""
    took_s, packages = run_script()

    assert not HEAVY & packages
    assert took_s < 1.0


def test_package_itself_imports_next_to_nothing() -> None:
    """`secondlook --help` must not wait for an HTTP library."""
    script = "import sys, secondlook; print('httpx' in sys.modules, 'secondlook.client' in sys.modules)"

    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert run.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("name", [name for name in secondlook.__all__ if name != "SecondlookError"])
def test_package_offers_the_clients_names(name: str) -> None:
    """The same objects as in `secondlook.client`."""
    assert getattr(secondlook, name) is getattr(import_module("secondlook.client"), name)


def test_package_has_no_other_names() -> None:
    """A misspelt one is told as such."""
    with pytest.raises(AttributeError, match="Cliemt"):
        getattr(secondlook, "Cliemt")  # noqa: B009 - mypy knows that it is not there
