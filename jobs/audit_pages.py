"""Read a running service's audit log, page by page."""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx

from jobs.errors import ServiceFailed
from router.audit_record import AuditRecord

PAGE = 5000


def read_audits(
    client: httpx.Client, progress: Callable[[int], None], since: datetime | None = None
) -> list[AuditRecord]:
    """Return the log's records, oldest first, those before `since` left out.

    Raises:
        ServiceFailed: The service can't be reached, or answers with an error.
    """
    records: list[AuditRecord] = []
    after = ""
    while True:
        page = _page(client, after)
        records += [_record(fields) for fields in page["data"]]
        progress(len(records))
        if page["next"] is None:
            break
        after = page["next"]
    return [record for record in records if since is None or record.at >= since.timestamp()]


def _page(client: httpx.Client, after: str) -> dict[str, Any]:
    try:
        response = client.get("/admin/audit", params={"after": after, "limit": PAGE})
        response.raise_for_status()
        page: dict[str, Any] = response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ServiceFailed(f"the audit log can't be read from {client.base_url}") from error
    return page


def _record(fields: dict[str, Any]) -> AuditRecord:
    known = {name: fields[name] for name in AuditRecord._fields if name in fields}
    # JSON has no infinity: every item took a second look.
    return AuditRecord(**known | {"threshold": math.inf if known["threshold"] is None else known["threshold"]})
