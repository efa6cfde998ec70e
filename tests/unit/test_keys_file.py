"""The file of keys: taken over when it changes, left alone when it is broken."""

import asyncio
from pathlib import Path

import httpx
import pytest

from router.access import Access
from router.access_config import AccessConfig
from router.errors import ConfigInvalid
from router.keys_file import KeysFile, read_keys
from secondlook.errors import KeysRefused
from secondlook.key_store import add_key, remove_key
from tests.fakes import FakeRouter
from tests.keys import ADMIN, OTHER, USER, bearer, entry


async def works(client: httpx.AsyncClient, key: str) -> bool:
    """Whether a key opens the service."""
    response = await client.get("/v1/models", headers=bearer(key))
    assert response.status_code in (200, 401)
    return response.status_code == 200


async def test_file_that_changes_is_in_force_at_the_next_look(tmp_path: Path) -> None:
    """A key comes, another goes; keys from elsewhere stay."""
    path = tmp_path / "keys.yaml"
    add_key(path, entry(USER, "first"))
    gate, file = Access(AccessConfig(), ()), KeysFile(path, [entry(ADMIN, "inline")])
    async with FakeRouter().client(access=gate) as client:
        await file.refresh(gate)
        before = [await works(client, key) for key in (USER, OTHER, ADMIN)]
        add_key(path, entry(OTHER, "second"))
        remove_key(path, "first")
        await file.refresh(gate)
        after = [await works(client, key) for key in (USER, OTHER, ADMIN)]

    assert (before, after) == ([True, False, True], [False, True, True])


@pytest.mark.parametrize("broken", ["keys: [", "keys: [{id: x, hash: y}]", "key: []", "", "keys: 7", None])
async def test_broken_file_leaves_the_keys_of_before(
    tmp_path: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, and a good file is taken over again."""
    path = tmp_path / "keys.yaml"
    add_key(path, entry(USER))
    gate, file = Access(AccessConfig(), ()), KeysFile(path)
    async with FakeRouter().client(access=gate) as client:
        await file.refresh(gate)
        path.unlink()
        if broken is not None:
            path.write_text(broken)
        await file.refresh(gate)
        await file.refresh(gate)
        still = await works(client, USER)
        path.unlink(missing_ok=True)
        add_key(path, entry(OTHER))
        await file.refresh(gate)
        after = [await works(client, USER), await works(client, OTHER)]

    assert still
    assert after == [False, True]
    assert caplog.text.count("stay in force") == 1


async def test_two_keys_of_one_id_leave_the_keys_of_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also where one of them stands elsewhere."""
    path = tmp_path / "keys.yaml"
    add_key(path, entry(USER, "inline"))
    gate = Access(AccessConfig(), [entry(ADMIN, "inline")])

    await KeysFile(path, [entry(ADMIN, "inline")]).refresh(gate)

    assert "stay in force" in caplog.text
    async with FakeRouter().client(access=gate) as client:
        assert await works(client, ADMIN)


async def test_file_is_followed_until_it_is_let_go(tmp_path: Path) -> None:
    """By a task of its own."""
    path = tmp_path / "keys.yaml"
    add_key(path, entry(USER))
    gate = Access(AccessConfig(), ())
    following = asyncio.create_task(KeysFile(path).follow(gate))
    async with FakeRouter().client(access=gate) as client, asyncio.timeout(5):
        while not await works(client, USER):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)  # it reads in a thread of its own
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following


@pytest.mark.parametrize(
    "text",
    [
        f"keys: [{{id: k, hash: '{USER}'}}]",
        f"keys: [{{id: k, hash: '{'0' * 64}', tenant: 'a b'}}]",
        f"{USER}: [",
    ],
)
def test_what_a_broken_file_says_is_not_repeated(tmp_path: Path, text: str) -> None:
    """Somebody may have put the key itself where its hash belongs."""
    path = tmp_path / "keys.yaml"
    path.write_text(text)

    with pytest.raises(ConfigInvalid) as refused:
        read_keys(path)

    assert USER not in str(refused.value)
    assert "0" * 64 not in str(refused.value)
    assert str(path) in str(refused.value)


def test_file_may_not_be_there_yet(tmp_path: Path) -> None:
    """Its name is told."""
    with pytest.raises(ConfigInvalid, match=r"none\.yaml"):
        read_keys(tmp_path / "none.yaml")


def test_file_in_a_folder_that_can_not_be_written_to_is_told(tmp_path: Path) -> None:
    """And nothing is left behind."""
    with pytest.raises(KeysRefused):
        add_key(tmp_path / "none" / "keys.yaml", entry(USER))
    assert list(tmp_path.iterdir()) == []
