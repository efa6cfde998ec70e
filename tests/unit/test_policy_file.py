"""Policies as files: of their own, within a deployment's, or named by one; certificates beside them."""

import json
from pathlib import Path
from typing import Any

import pytest

from router.config_file import load_config
from router.errors import ConfigInvalid
from router.policy import Policy, RouteRule
from router.policy_file import load_policy
from tests.policies import make_certificate

TIERS = """
tiers:
  fast: {model: {architecture: ViT-B-32, pretrained: openai}}
  accurate: {model: {architecture: ViT-L-14, pretrained: openai}}
"""
CERTIFICATE = make_certificate(2.0)


def write(path: Path, text: str) -> Path:
    """Write a file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_certificates(path: Path, **changes: Any) -> Path:
    """Write a list of one certificate; `changes` tamper with it."""
    return write(path, json.dumps([{**CERTIFICATE.model_dump(mode="json"), **changes}]))


def refusal(file: Path) -> str:
    """Why a policy can't be used."""
    with pytest.raises(ConfigInvalid) as caught:
        load_policy(file)
    return str(caught.value)


def test_policys_own_file_is_its_keys(tmp_path: Path) -> None:
    """At the top level."""
    file = write(tmp_path / "policy.yaml", "threshold: 2\ndegraded: fail\nroutes: {score: {threshold: 0}}\n")

    policy = load_policy(file)

    assert policy == Policy.model_validate({"threshold": 2, "degraded": "fail", "routes": {"score": {"threshold": 0}}})


def test_deployment_files_policy_is_the_one_it_would_serve_with(tmp_path: Path) -> None:
    """Whether it says one or not."""
    some = write(tmp_path / "some.yaml", TIERS + "policy: {threshold: 2}\n")
    none = write(tmp_path / "none.yaml", TIERS)

    assert load_policy(some) == load_config(some).policy == Policy(threshold=2)
    assert load_policy(none) == load_config(none).policy == Policy()


def test_deployment_may_name_its_policys_file(tmp_path: Path) -> None:
    """By a path beside it, from wherever it is read, and equally for both readers."""
    write(tmp_path / "policies" / "mine.yaml", "threshold: 7\n")
    file = write(tmp_path / "service.yaml", TIERS + "policy: policies/mine.yaml\n")

    assert load_policy(file) == load_config(file).policy == Policy(threshold=7)


def test_certificates_are_beside_the_file_that_names_them(tmp_path: Path) -> None:
    """Not beside the deployment which names that one."""
    write_certificates(tmp_path / "policies" / "certificates.json")
    write(tmp_path / "policies" / "mine.yaml", "target_agreement: 0.99\ncertificates: certificates.json\n")
    file = write(tmp_path / "service.yaml", TIERS + "policy: policies/mine.yaml\n")

    policy = load_policy(file)

    assert policy.certificates == (CERTIFICATE,)
    assert policy == load_config(file).policy
    assert policy.version == Policy(target_agreement=0.99, certificates=(CERTIFICATE,)).version


def test_certificates_file_that_is_not_there_yet_holds_none(tmp_path: Path) -> None:
    """A policy may name the file which calibration is still to write; until then every item takes a second look."""
    file = write(tmp_path / "policy.yaml", "target_agreement: 0.99\ncertificates: not-yet.json\n")

    assert load_policy(file).certificates == ()


@pytest.mark.parametrize("content", ["[{]", "", "\x00", "[1, 2"])
def test_corrupt_certificates_file_is_refused_by_its_name(tmp_path: Path, content: str) -> None:
    """What can't be read is not the same as none."""
    write(tmp_path / "certificates.json", content)
    file = write(tmp_path / "policy.yaml", "target_agreement: 0.99\ncertificates: certificates.json\n")

    assert "certificates.json: cannot be read as certificates" in refusal(file)


def test_certificates_path_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    """Not taken for a file that is still to come."""
    (tmp_path / "folder").mkdir()
    file = write(tmp_path / "policy.yaml", "certificates: folder\n")

    assert "cannot be read as certificates" in refusal(file)


@pytest.mark.parametrize("content", ["{}", '"text"', "[1]", "null"])
def test_certificates_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    """JSON, but no list of certificates."""
    write(tmp_path / "certificates.json", content)
    file = write(tmp_path / "policy.yaml", "certificates: certificates.json\n")

    assert "  certificates" in refusal(file)


@pytest.mark.parametrize(
    "changes", [{"threshold": 1.0}, {"errors": 1}, {"target_agreement": 0.9999}, {"count": 5}, {"agreement_bound": 1.0}]
)
def test_tampered_certificate_is_refused(tmp_path: Path, changes: dict[str, float]) -> None:
    """Its counts do not say what it says."""
    write_certificates(tmp_path / "certificates.json", **changes)
    file = write(tmp_path / "policy.yaml", "target_agreement: 0.99\ncertificates: certificates.json\n")

    assert "certificates.0: Value error" in refusal(file)


@pytest.mark.parametrize(
    ("text", "path", "model"),
    [
        ("treshold: 1\n", "treshold", Policy),
        ("routes: {score: {treshold: 1}}\n", "routes.score.treshold", RouteRule),
        ("routes: {score: {certificates: []}}\n", "routes.score.certificates", RouteRule),
    ],
)
def test_unknown_key_is_named_with_what_is_allowed(
    tmp_path: Path, text: str, path: str, model: type[Policy] | type[RouteRule]
) -> None:
    """At the top and below routes."""
    allowed = ", ".join(sorted(model.model_fields))

    assert f"  {path}: unknown key; allowed here: {allowed}" in refusal(write(tmp_path / "policy.yaml", text))


def test_unknown_key_of_a_certificate_is_named_with_what_is_allowed(tmp_path: Path) -> None:
    """By its place in the list, also where the deployment's file is read."""
    write_certificates(tmp_path / "certificates.json", signed_by="nobody")
    file = write(tmp_path / "service.yaml", TIERS + "policy: {certificates: certificates.json}\n")

    with pytest.raises(ConfigInvalid, match=r"policy\.certificates\.0\.signed_by: unknown key; allowed here: acc"):
        load_config(file)
    assert "  certificates.0.signed_by: unknown key; allowed here: accurate_model, agreement_bound" in refusal(file)


def test_unknown_route_is_named_with_those_there_are(tmp_path: Path) -> None:
    """A misspelt route would be a rule without effect."""
    message = refusal(write(tmp_path / "policy.yaml", "routes: {simlarity: {threshold: 1}}\n"))

    assert "routes.simlarity" in message
    assert "'similarity'" in message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected keys and values"),
        ("- threshold\n", "expected keys and values"),
        ("threshold: [\n", "not YAML"),
        ("threshold: 1\nthreshold: 2\n", "the key 'threshold' stands there twice"),
        (TIERS + "policy: [1]\n", "expected a policy's keys and values"),
        (TIERS + "policy:\n", "expected a policy's keys and values"),
        (TIERS + "policy: nowhere.yaml\n", "nowhere.yaml: cannot be read"),
    ],
)
def test_file_that_holds_no_policy_says_what_it_holds(tmp_path: Path, text: str, problem: str) -> None:
    """In the words of deployment files."""
    assert problem in refusal(write(tmp_path / "policy.yaml", text))


def test_missing_policy_file_is_refused(tmp_path: Path) -> None:
    """By its name."""
    assert "nowhere.yaml: cannot be read" in refusal(tmp_path / "nowhere.yaml")
