"""Policy documents as files: of their own, or within a deployment's; certificates in a file beside them."""

import json
from pathlib import Path

from pydantic import ValidationError

from router.errors import ConfigInvalid
from router.policy import Policy
from router.yaml_file import explain, read_yaml


def load_policy(path: Path) -> Policy:
    """Read and validate a policy's own file, or the policy of a deployment file.

    Raises:
        ConfigInvalid: It can't be read or is not valid; the message names each wrong key by its path.
    """
    document = policy_document(path)
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        raise ConfigInvalid(explain(path, Policy, error)) from error


def policy_document(path: Path) -> dict[str, object]:
    """Return a policy as its file says it, with the certificates that it names.

    Raises:
        ConfigInvalid: A file can't be read.
    """
    document: object = read_yaml(path)
    if isinstance(document, dict) and is_deployment(document):
        document = document.get("policy", {})
    resolved = resolve_policy(document, path.resolve().parent)
    if not isinstance(resolved, dict):
        raise ConfigInvalid(f"{path}: expected a policy's keys and values")
    return resolved


def certificates_path(path: Path) -> Path | None:
    """The certificates' file that a policy names, its own file or a deployment's; None where it names none.

    Raises:
        ConfigInvalid: A file can't be read.
    """
    document: object = read_yaml(path)
    base = path.resolve().parent
    if isinstance(document, dict) and is_deployment(document):
        document = document.get("policy")
    while isinstance(document, str):
        path = base / Path(document).expanduser()
        document, base = read_yaml(path), path.resolve().parent
    named = document.get("certificates") if isinstance(document, dict) else None
    return base / Path(named).expanduser() if isinstance(named, str) else None


def is_deployment(document: dict[str, object]) -> bool:
    """Whether a file is a deployment's and not a policy's own."""
    return "tiers" in document


def resolve_policy(document: object, base: Path) -> object:
    """Put in place what a policy names by path: itself, and its certificates; paths are beside `base`.

    Raises:
        ConfigInvalid: A file can't be read.
    """
    if isinstance(document, str):
        path = base / Path(document).expanduser()
        return resolve_policy(read_yaml(path), path.resolve().parent)
    if isinstance(document, dict) and isinstance(document.get("certificates"), str):
        return {**document, "certificates": read_certificates(base / Path(document["certificates"]).expanduser())}
    return document


def read_certificates(path: Path) -> object:
    """Return what a certificates' file says; none yet where there is no such file.

    Raises:
        ConfigInvalid: It is not JSON, or can't be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []  # a policy that names the file which `calibrate` is still to write
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"{path}: cannot be read as certificates ({type(error).__name__})") from error
