"""Deployment files: YAML in, validated configuration or a message that helps out."""

from pathlib import Path

import pytest

from router.config_file import load_config
from router.errors import ConfigInvalid
from router.policy import Policy, RouteRule
from tests.deployment_files import ROOT

MINIMAL = """
tiers:
  fast: {model: {architecture: ViT-B-32, pretrained: openai}}
  accurate: {model: {architecture: ViT-L-14, pretrained: openai}}
"""
SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))


def load(folder: Path, text: str) -> str:
    """Write a file, load it, and return why it can't be used."""
    file = folder / "deployment.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigInvalid) as caught:
        load_config(file)
    return str(caught.value)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_shipped_deployment_file_loads(file: Path) -> None:
    """Whatever lies in configs/ is a valid deployment, and its models are found from anywhere."""
    args = load_config(file)

    for tier in (args.tiers.fast, args.tiers.accurate):
        folder = tier.model.architecture.removeprefix("local-dir:")
        assert folder == tier.model.architecture or Path(folder).is_absolute()


def test_shipped_deployment_files_exist() -> None:
    """The test above has something to load."""
    assert "quickstart.yaml" in [file.name for file in SHIPPED]


def test_minimal_file_leaves_the_rest_at_its_defaults(tmp_path: Path) -> None:
    """Two models are all that has to be said."""
    file = tmp_path / "deployment.yaml"
    file.write_text(MINIMAL, encoding="utf-8")

    args = load_config(file)

    assert (args.server.host, args.server.port) == ("127.0.0.1", 8000)
    assert args.policy.threshold == 1.0


@pytest.mark.parametrize(
    ("addition", "path", "allowed"),
    [
        ("polciy: {threshold: 2}", "polciy", "access, cache, image_urls, limits, name, policy, router, server, tiers"),
        (
            "access: {key_file: keys.yaml}",
            "access.key_file",
            "allow_open, cors_origins, keys, keys_file, quota, share_cache",
        ),
        ("access: {keys: [{hsah: x}]}", "access.keys.0.hsah", "expires_at, hash, id, quota, role, tenant"),
        ("server: {prot: 1}", "server.prot", "host, port"),
        ("router: {breaker: {open_ms: 1}}", "router.breaker.open_ms", "consecutive_failures, failure_rate, open_s"),
        ("policy: {margin: 1}", "policy.margin", ", ".join(sorted(Policy.model_fields))),
        (
            "policy: {routes: {score: {margin: 1}}}",
            "policy.routes.score.margin",
            ", ".join(sorted(RouteRule.model_fields)),
        ),
    ],
)
def test_unknown_key_is_named_by_its_path_with_what_is_allowed(
    tmp_path: Path, addition: str, path: str, allowed: str
) -> None:
    """The reader of the message can mend the file without any other document."""
    message = load(tmp_path, f"{MINIMAL}{addition}\n")

    assert f"{path}: unknown key; allowed here: {allowed}" in message


def test_unknown_key_of_a_tier_is_named_by_its_path(tmp_path: Path) -> None:
    """Deep keys are named from the top."""
    message = load(tmp_path, MINIMAL.replace("ViT-B-32,", "ViT-B-32, precison: fp16,"))

    assert "tiers.fast.model.precison: unknown key; allowed here: architecture, bpe_file, device" in message


def test_every_wrong_key_is_in_one_message(tmp_path: Path) -> None:
    """Three mistakes are told at once and not one a run."""
    message = load(tmp_path, f"{MINIMAL}server: {{port: http, tls: true}}\npolicy: {{threshold: -1}}\n")

    assert "3 problem(s)" in message
    assert all(path in message for path in ("server.port:", "server.tls:", "policy.threshold:"))


@pytest.mark.parametrize(
    ("addition", "path"),
    [
        ("server: {port: eighty}", "server.port"),
        ("server: [1, 2]", "server"),
        ("limits: {images: 0}", "limits.images"),
        ("cache: {url: 'memcached://x'}", "cache"),
        ("router: {autoscaling: {min_replicas: 3, max_replicas: 2}}", "router.autoscaling"),
        ("image_urls: {allowed_hosts: ['*.example.com']}", "image_urls.allowed_hosts"),
        ("image_urls: {allowed_ports: [0]}", "image_urls.allowed_ports.0"),
        ("1: 2", "1"),
    ],
)
def test_wrong_value_is_named_by_its_path(tmp_path: Path, addition: str, path: str) -> None:
    """Wrong types and values out of range name the key that has them."""
    message = load(tmp_path, f"{MINIMAL}{addition}\n")

    assert f"  {path}: " in message


def test_missing_models_are_named(tmp_path: Path) -> None:
    """A file without tiers, and a tier without a model, say what they lack."""
    assert "tiers: Field required" in load(tmp_path, "server: {port: 1}\n")
    assert "tiers.fast.model: Field required" in load(tmp_path, MINIMAL.replace("{model:", "{resources:", 1))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tiers: [", "not YAML at line"),
        ("a: b: c", "not YAML at line 1, column 5"),
        ("tiers: \x07", "not YAML"),
        ("!!python/object/apply:os.getcwd []", "not YAML at line 1"),
        ("", "expected keys and values"),
        ("- a\n- b\n", "expected keys and values"),
        ("just words", "expected keys and values"),
    ],
)
def test_file_that_is_no_mapping_in_yaml_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """The message says where the YAML ends to be YAML, or that keys were expected."""
    assert problem in load(tmp_path, text)


def test_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, a directory and bytes that are no text are each told with the path."""
    (tmp_path / "latin1.yaml").write_bytes(b"server: {host: \xff}")

    for name in ("missing.yaml", ".", "latin1.yaml"):
        with pytest.raises(ConfigInvalid) as caught:
            load_config(tmp_path / name)
        assert f"{tmp_path / name}: cannot be read" in str(caught.value)


def test_relative_model_paths_lie_beside_the_file(tmp_path: Path) -> None:
    """Replicas run elsewhere: a folder and a merges file are absolute after loading."""
    file = tmp_path / "conf" / "deployment.yaml"
    file.parent.mkdir()
    tier = "{model: {architecture: 'local-dir:../models/tiny', bpe_file: merges.txt.gz}}"
    file.write_text(f"tiers:\n  fast: {tier}\n  accurate: {tier}\n", encoding="utf-8")

    model = load_config(file).tiers.accurate.model

    assert model.architecture == f"local-dir:{tmp_path / 'models' / 'tiny'}"
    assert model.bpe_file == str(tmp_path / "conf" / "merges.txt.gz")


def test_absolute_and_named_models_stay_as_they_are(tmp_path: Path) -> None:
    """Only relative paths are looked up beside the file."""
    file = tmp_path / "deployment.yaml"
    file.write_text(
        "tiers:\n  fast: {model: {architecture: 'local-dir:/models/tiny'}}\n"
        "  accurate: {model: {architecture: 'hf-hub:org/name'}}\n",
        encoding="utf-8",
    )

    tiers = load_config(file).tiers

    assert tiers.fast.model.architecture == "local-dir:/models/tiny"
    assert tiers.accurate.model.architecture == "hf-hub:org/name"


def test_overrides_replace_the_files_server_keys(tmp_path: Path) -> None:
    """What the command line says wins, the file's other keys stay, and the result is validated."""
    file = tmp_path / "deployment.yaml"
    file.write_text(f"{MINIMAL}server: {{host: 0.0.0.0, port: 80}}\n", encoding="utf-8")

    server = load_config(file, {"port": 9000}).server

    assert (server.host, server.port) == ("0.0.0.0", 9000)
    with pytest.raises(ConfigInvalid, match=r"server\.port"):
        load_config(file, {"port": -1})


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("{architecture: ViT-B-32}", "pretrained: required"),
        ("{architecture: 'hf-hub:a/b', pretrained: x}", "pretrained: not allowed"),
        ("{architecture: ViT-B-32, pretrained: x, device: tpu}", "tiers.fast.model.device"),
    ],
)
def test_model_that_can_not_be_loaded_is_refused_early(tmp_path: Path, model: str, problem: str) -> None:
    """What a replica would stumble over is told before one is started."""
    assert problem in load(tmp_path, MINIMAL.replace("{architecture: ViT-B-32, pretrained: openai}", model))


def test_every_relative_path_is_beside_the_file(tmp_path: Path) -> None:
    """Replicas run elsewhere: a checkpoint, the store, the journal and the secret are looked for where the file is."""
    (tmp_path / "weights.pt").touch()
    file = tmp_path / "deployment.yaml"
    file.write_text(
        "tiers:\n  fast: {model: {architecture: ViT-B-32, pretrained: weights.pt}}\n"
        "  accurate: {model: {architecture: ViT-B-32, pretrained: openai}}\n"
        "cache: {url: 'embedded:store', secret_file: secret, journal: {url: 'embedded:journal'}}\n"
        "access: {keys_file: keys.yaml}\n",
        encoding="utf-8",
    )

    args = load_config(file)

    assert args.tiers.fast.model.pretrained == str(tmp_path / "weights.pt")
    assert args.tiers.accurate.model.pretrained == "openai"
    assert args.cache.url == f"embedded:{tmp_path / 'store'}"
    assert args.cache.secret_file == str(tmp_path / "secret")
    assert args.cache.journal_path() == tmp_path / "journal"
    assert args.access.keys_file == str(tmp_path / "keys.yaml")


@pytest.mark.parametrize("url", ["cache", "none:", "redis://host", "embedded:auto", "embedded:/journal"])
def test_journal_that_is_no_relative_path_stays_as_it_is(tmp_path: Path, url: str) -> None:
    """Only a directory's name is looked up beside the file."""
    file = tmp_path / "deployment.yaml"
    file.write_text(f"{MINIMAL}cache: {{journal: {{url: '{url}'}}}}\n", encoding="utf-8")

    assert load_config(file).cache.journal.url == url


def test_key_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    """YAML would let the last one win, and the reader believe the first."""
    problem = load(tmp_path, MINIMAL + "policy: {threshold: 1}\npolicy: {threshold: 2}\n")

    assert "the key 'policy' stands there twice" in problem
