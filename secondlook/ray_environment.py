"""The environment that Ray and Serve are started in: what we choose, and never what a user chose."""

from collections.abc import Mapping
from pathlib import Path

from secondlook.haproxy import BINARY_VARIABLE, SOCKET_NAME
from secondlook.ports import PortBlock
from secondlook.watchdog import MARKER

MIB = 2**20


def service_environment(service_dir: Path, code_dir: Path, python_path: str) -> dict[str, str]:
    """Variables that make a service private and cheap, whatever its ingress.

    Args:
        service_dir: The service's own folder.
        code_dir: Where Ray's workers find the application.
        python_path: The PYTHONPATH to keep behind it.
    """
    return {
        MARKER: str(service_dir),
        # Ray's processes change their titles: not over the environment that they are known by.
        "SPT_NOENV": "1",
        "PYTHONPATH": f"{code_dir}:{python_path}" if python_path else str(code_dir),
        # Handles between deployments carry pickles: only who can read the token may call them.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(service_dir / "token"),
        # On Linux Ray replaces a loopback node address by the machine's own, unless it is told that
        # this node will never be part of a cluster; the switch is named for where that is the default.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_raylet_start_wait_time_s": "240",
        "RAY_worker_niceness": "0",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ROTATION_MAX_BYTES": str(16 * MIB),
        "RAY_ROTATION_BACKUP_COUNT": "1",
        "RAY_DEDUP_LOGS": "0",
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        # A call to a tier may hold one image as large as a request's body; gRPC stops at 4 MiB by default.
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(64 * MIB),
    }


def haproxy_environment(wrapper: Path, folder: Path, ports: PortBlock) -> dict[str, str]:
    """Variables that put HAProxy, tuned and with ports and files of its own, in front of Serve."""
    http, grpc = ports.replica_http, ports.replica_grpc
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        BINARY_VARIABLE: str(wrapper),
        # Without it HAProxy refuses to share its port with the launcher's claim.
        "SERVE_SOCKET_REUSE_PORT_ENABLED": "1",
        # An ingress that fails three checks in a row is started again: with the default of 10 s, half a minute is lost.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.haproxy_stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.haproxy_metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports.fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(http.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(http.stop),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(grpc.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(grpc.stop),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / SOCKET_NAME),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }


def missing(wanted: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    """What of `wanted` is to be set: the rest a user has already decided."""
    ours = {MARKER, "PYTHONPATH"}
    return {name: value for name, value in wanted.items() if name in ours or name not in present}
