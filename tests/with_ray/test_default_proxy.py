"""Where HAProxy can't be had, Serve's own proxy serves the same API."""

from pathlib import Path

import httpx

from tests.deployment_files import write_deployment_file
from tests.pictures import as_base64, captions, picture
from tests.service_process import run_service


def test_service_without_haproxy_gives_the_same_answers(tmp_path: Path) -> None:
    """Similarity, an error and a request id, through the default proxy."""
    config = write_deployment_file(tmp_path / "service.yaml", {"cache": {"url": f"embedded:{tmp_path / 'cache'}"}})
    body = {"images": [as_base64(picture(1))], "texts": captions(1)}
    with (
        run_service(config, environment={"RAY_SERVE_ENABLE_HA_PROXY": "0"}) as service,
        httpx.Client(base_url=service.base_url, timeout=60) as client,
    ):
        answer = client.post("/v1/similarity", json=body, headers={"X-Request-Id": "request-1"})
        refusal = client.post("/v1/similarity", json={"images": []})

        assert "Serve's own proxy" in service.output
    assert answer.status_code == 200
    assert answer.json()["data"][0]["best"] == 0
    assert answer.headers.get_list("x-request-id") == ["request-1"]
    assert refusal.json()["error"]["code"] == "invalid_request"
