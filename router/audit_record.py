"""One line of the audit log: how both tiers judged one item. No content, nor anything that content can be told from."""

from typing import Annotated, Any, Literal, NamedTuple

import msgpack
from pydantic import Field, TypeAdapter

from router.outcome import DegradedReason, TierName

Loss = Literal["busy", "shed", "timeout", "unavailable", "unknown_key", "model_changed", "failed", "balance"]
"""Why a drawn item has no second answer; `balance`: it has, and is left out by lot, as often as others are lost."""


class AuditRecord(NamedTuple):
    """What was drawn by lot, what was served, and whether the tiers agree.

    `margin` and `confidence` are the fast tier's; `agrees` says whether its decision is the accurate tier's. Both are
    None where the audit was lost. `share` is the lot's chance, so that one record stands for `1 / share` items.
    """

    at: float
    """Unix time, in seconds."""
    group: str
    policy: str
    certificate: str | None
    target: Annotated[float, Field(gt=0, lt=1)] | None
    """The certificate's target agreement."""
    fast_model: str
    accurate_model: str
    threshold: float
    """Margin below which a second look was due; infinite: always."""
    share: Annotated[float, Field(gt=0, le=1)]
    served: TierName
    escalated: bool
    degraded: DegradedReason | None
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    confidence: float | None = None
    agrees: bool | None = None
    lost: Loss | None = None

    @property
    def is_error(self) -> bool:
        """Whether the caller was served what the accurate tier would not have said."""
        return self.served == "fast" and self.agrees is False

    @property
    def counts(self) -> bool:
        """Whether the guarantee speaks of it: audited, and not degraded, which is marked and counted apart."""
        return self.lost is None and self.degraded is None

    def to_bytes(self) -> bytes:
        """Encode it; field names make it readable by later versions, at about 350 bytes a record."""
        packed: bytes = msgpack.packb(self._asdict())
        return packed


_CHECK: TypeAdapter[AuditRecord] = TypeAdapter(AuditRecord)


def read_record(data: bytes) -> AuditRecord:
    """Decode a record; fields that this version does not know are left out.

    Raises:
        ValueError: It is no record, or one that can't be counted: who reads a shared log must outlive what is in it.
    """
    try:
        fields: Any = msgpack.unpackb(data)
        known = {name: fields[name] for name in AuditRecord._fields if name in fields}
        record = _CHECK.validate_python(known, strict=True)
    except (TypeError, KeyError, ValueError, msgpack.UnpackException) as error:
        raise ValueError("not an audit record") from error
    if record.lost is None and (record.margin is None or record.agrees is None):
        raise ValueError("not an audit record")
    return record
