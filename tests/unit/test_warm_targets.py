"""Warming the deployment that is to follow: texts get the names that its routers will look for."""

import pytest

from router.config import AppArgs
from router.tenants import readers_for
from secondlook.deployment_file import DEFAULT_CONFIG, load
from secondlook.errors import WarmupFailed
from secondlook.warm_targets import _next_reader
from tests.keys import USER, entry

SECRET = b"a secret of a deployment"


def next_deployment(*, has_keys: bool, share_cache: bool = False) -> AppArgs:
    """The quick start's file, with keys or without."""
    args = load(DEFAULT_CONFIG)
    keys = (entry(USER, tenant="acme"),) if has_keys else ()
    return args.model_copy(update={"access": args.access.model_copy(update={"keys": keys, "share_cache": share_cache})})


@pytest.mark.parametrize(
    ("has_keys", "share_cache", "tenant"), [(False, False, ""), (True, True, ""), (True, False, "acme")]
)
def test_text_has_the_name_that_the_next_routers_look_for(has_keys: bool, share_cache: bool, tenant: str) -> None:  # noqa: FBT001
    """Of a tenant's part of the cache, or of the one that all share."""
    args = next_deployment(has_keys=has_keys, share_cache=share_cache)

    warmed = _next_reader(args, SECRET, tenant).read("a cat", "text")

    (asked,) = readers_for(args, SECRET, has_keys=has_keys).of("acme").texts(["a cat"]).items
    assert (warmed.digest, warmed.tenant) == (asked.digest, asked.tenant)


@pytest.mark.parametrize(
    ("has_keys", "tenant", "hint"), [(True, "", "name one"), (False, "acme", "leave --tenant out")]
)
def test_tenant_is_named_exactly_where_each_has_a_part_of_its_own(has_keys: bool, tenant: str, hint: str) -> None:  # noqa: FBT001
    """Else nobody would find what was warmed."""
    with pytest.raises(WarmupFailed, match=hint):
        _next_reader(next_deployment(has_keys=has_keys), SECRET, tenant)
