"""Ask a service whether it is ready: a real inference went through it."""

import http.client
from contextlib import closing

READY_PATH = "/readyz"
TIMEOUT_S = 10.0


def is_ready(host: str, port: int, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether `/readyz` answers 200 on `host:port`; a wildcard address is asked on loopback."""
    asked = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to
    with closing(http.client.HTTPConnection(asked, port, timeout=timeout_s)) as connection:
        try:
            connection.request("GET", READY_PATH)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False


def base_url(host: str, port: int) -> str:
    """The address as a URL; IPv6 addresses are bracketed."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
