"""The API key that a command sends: from the environment, never an argument, which others on the machine could read."""

import os

from secondlook.errors import QueryFailed

API_KEY, ADMIN_KEY = "SECONDLOOK_API_KEY", "SECONDLOOK_ADMIN_KEY"


def authorization(*, is_admin: bool) -> dict[str, str]:
    """Return the header for a command: with the key that it is meant for, else with the other, else none.

    Raises:
        QueryFailed: The key is none that can be sent.
    """
    for variable in (ADMIN_KEY, API_KEY) if is_admin else (API_KEY, ADMIN_KEY):
        key = os.environ.get(variable, "")
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise QueryFailed(f"{variable}: not an API key")
        if key:
            return {"Authorization": f"Bearer {key}"}
    return {}
