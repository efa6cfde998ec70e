"""The configuration of one deployment, composed from what each part may be set to."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cache.config import CacheConfig
from router.access_config import AccessConfig
from router.admission import AdmissionConfig
from router.breaker import BreakerConfig
from router.policy import Policy, or_path
from router.strict_url import is_host_entry
from tiers.config import AutoscalingConfig, ResourcesConfig, TierConfig


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerConfig(_Strict):
    """Where the service listens."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; loopback unless told otherwise.")
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port; 0 chooses a free one.")

    @field_validator("host")
    @classmethod
    def _host_is_not_ipv6(cls, host: str) -> str:
        if ":" in host:
            raise ValueError("IPv6 addresses can't be served yet: the ingress reaches its replicas over IPv4")
        return host


class LimitsConfig(_Strict):
    """What one request may ask for, checked before any work."""

    body_bytes: int = Field(default=8 * 2**20, ge=1, description="Size of a request's body, in bytes.")
    images: int = Field(default=64, ge=1, description="Images in one request.")
    texts: int = Field(default=1024, ge=1, description="Texts in one request.")
    text_chars: int = Field(default=4096, ge=1, description="Characters of one text.")


class ImageUrlsConfig(_Strict):
    """Images that are fetched from http(s) URLs: none, unless hosts are named."""

    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Hosts that images may be fetched from: exact names (`cdn.example.com`), suffixes that stand for "
        "every name below a domain (`.example.com`), or IP addresses. None: no URL is fetched. Only public addresses "
        "are ever connected to.",
    )
    allowed_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        default=(80, 443), min_length=1, description="Ports that may be connected to."
    )
    max_bytes: int = Field(default=8 * 2**20, ge=1, description="Bytes of one fetched image.")
    max_request_bytes: int = Field(
        default=32 * 2**20, ge=1, description="Bytes of all images that are fetched for one request."
    )
    timeout_s: float = Field(
        default=3.0, gt=0, description="Seconds one image may take: its turn, the name's lookup and all of its bytes."
    )
    concurrent: int = Field(default=32, ge=1, description="Images one router replica fetches at the same time.")

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts_can_be_matched(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [host for host in hosts if not is_host_entry(host)]
        if wrong:
            raise ValueError(
                f"{', '.join(map(repr, wrong))}: not a lower-case host name (others as xn--...), a suffix such as "
                "'.example.com' or an IP address in its usual notation"
            )
        return hosts


class TierAdmissionConfig(_Strict):
    """What one router replica holds for each tier, and whom it refuses."""

    fast: AdmissionConfig = AdmissionConfig()
    accurate: AdmissionConfig = AdmissionConfig()


class RouterConfig(_Strict):
    """The router deployment and its bounds."""

    resources: ResourcesConfig = ResourcesConfig()
    autoscaling: AutoscalingConfig = AutoscalingConfig(target_ongoing_requests=100)
    max_ongoing_requests: int = Field(
        default=2000, ge=1, description="Requests one router replica admits at once (Serve's own bound)."
    )
    max_in_flight: int = Field(
        default=1500, ge=1, description="Requests one router replica works on; the next is answered 503."
    )
    calls_in_flight: int = Field(
        default=4,
        ge=1,
        description="Calls that go to each replica of a tier at once, per router.",
    )
    max_calls_in_flight: int = Field(
        default=32,
        ge=1,
        description="Calls in progress for each replica, per router; those beyond `calls_in_flight` go 10 ms apart, so "
        "that misses gather.",
    )
    items_per_call: int = Field(default=32, ge=1, le=1024, description="Items in one call to a tier.")
    bytes_per_call: int = Field(
        default=3 * 2**20,
        ge=1,
        description="Bytes of images in one call to a tier (one image may exceed it).",
    )
    deadline_s: float = Field(default=30.0, gt=0, description="Seconds a request may take, unless it says less.")
    patience_s: float = Field(
        default=1.0,
        ge=0,
        description="Seconds a call to a tier must have had for its time-out to count against the tier's breaker: a "
        "caller's tiny deadline is no fault of the tier.",
    )
    audit_records: int = Field(
        default=200_000, ge=1000, description="Records that the audit log keeps, the newest, at about 350 bytes each."
    )
    admission: TierAdmissionConfig = TierAdmissionConfig()
    breaker: BreakerConfig = BreakerConfig()
    cache_breaker: BreakerConfig = BreakerConfig()


class TiersConfig(_Strict):
    """Both tiers."""

    fast: TierConfig
    accurate: TierConfig


class AppArgs(_Strict):
    """Everything one deployment file says."""

    name: str = Field(
        default="default",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$",
        description="Names the deployment: its audit log and its policies' history are its own where several "
        "deployments share one store.",
    )
    server: ServerConfig = ServerConfig()
    access: AccessConfig = AccessConfig()
    limits: LimitsConfig = LimitsConfig()
    image_urls: ImageUrlsConfig = ImageUrlsConfig()
    router: RouterConfig = RouterConfig()
    cache: CacheConfig = CacheConfig()
    tiers: TiersConfig
    policy: Policy = Field(
        default=Policy(), json_schema_extra=or_path, description="The policy, or the path of its own file."
    )

    @model_validator(mode="after")
    def _no_tenant_can_make_images_collide(self) -> Self:
        if self.access.names_keys and self.cache.image_digest == "xxh3_128":
            raise ValueError("cache.image_digest: with API keys auto or blake2b; xxh3_128 is for trusted callers")
        return self
