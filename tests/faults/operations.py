"""What an operator does from the head of a cluster: apply a deployment file through Serve's controller, see what runs.

Run as a script in the head's environment: `operations.py GCS_ADDRESS HTTP_PORT [--apply FILE] [--until STATUS]`.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray.serve._private.api import serve_start
from ray.serve.schema import ServeDeploySchema

from secondlook.cluster import APPLICATION, NAMESPACE, Application
from secondlook.deployment import BUILDER
from secondlook.deployment_file import load
from secondlook.rollout import split

TIMEOUT_S = 90.0
POLL_S = 0.2
LOGGING = {"enable_access_log": False, "log_level": "ERROR"}


def main(arguments: list[str]) -> int:
    """Do it and print, as one line of JSON, what runs then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gcs_address")
    parser.add_argument("http_port", type=int)
    parser.add_argument("--apply", type=Path, metavar="FILE")
    parser.add_argument("--until", metavar="STATUS", help="wait until the application has this status")
    options = parser.parse_args(arguments)

    client = _connect(options.gcs_address, options.http_port)
    if options.apply:
        client.deploy_apps(ServeDeploySchema.model_validate({"applications": [_document(options.apply)]}))
    give_up_at = time.monotonic() + TIMEOUT_S
    while options.until not in (None, (found := _what_runs(client))["status"]):
        if time.monotonic() > give_up_at:
            sys.stderr.write(f"not {options.until} after {TIMEOUT_S:.0f} s: {found}\n")
            return 1
        time.sleep(POLL_S)
    sys.stdout.write(json.dumps(_what_runs(client)) + "\n")
    return 0


def _connect(gcs_address: str, http_port: int) -> Any:
    """Find Serve's controller, or start it and an ingress on every node."""
    host, _, _ = gcs_address.partition(":")
    ray.init(gcs_address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR", _node_ip_address=host)
    return serve_start(http_options={"host": "0.0.0.0", "port": http_port}, global_logging_config=LOGGING)


def _document(file: Path) -> dict[str, Any]:
    rollout = split(load(file))
    return Application(BUILDER, rollout.args, rollout.deployments).document(LOGGING)


def _what_runs(client: Any) -> dict[str, Any]:
    """The application's status and, by deployment, each replica's state and, once it has one, its process."""
    application = client.get_serve_details()["applications"][APPLICATION]
    replicas = {
        name: [[one["state"].value, one.get("pid")] for one in deployment["replicas"]]
        for name, deployment in application["deployments"].items()
    }
    return {"status": application["status"].value, "replicas": replicas}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
