"""What an operator may set for one tier."""

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision = Literal["fp32", "fp16", "bf16"]
EngineName = Literal["torch", "torch-compile", "onnxruntime", "onnxruntime-int8"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(_Strict):
    """Which open_clip model a tier runs."""

    name: str | None = Field(
        default=None,
        min_length=1,
        description="Model id that callers see and may ask for; by default made of architecture and tag.",
    )
    architecture: str = Field(
        min_length=1,
        description="open_clip architecture (`ViT-B-32`), `hf-hub:org/name`, or `local-dir:path` to a folder "
        "with open_clip_config.json and weights; a relative path is looked up beside the configuration file.",
    )
    pretrained: str | None = Field(
        default=None,
        description="open_clip pretrained tag or path of a checkpoint; none for `hf-hub:` and `local-dir:`. "
        "`random` loads seeded random weights, for benchmarks only.",
    )
    bpe_file: str | None = Field(
        default=None,
        description="Byte-pair merges (gzip) of the tokenizer where they are not open_clip's own; a relative "
        "path is looked up beside the configuration file.",
    )
    matryoshka: bool = Field(
        default=False,
        description="Whether the model was trained so that its embeddings may be cut to their first numbers: callers "
        "may then ask `/v1/embeddings` for fewer `dimensions`. Most models were not.",
    )
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="`cpu`, `cuda`, `cuda:1`.")
    precision: Precision = Field(default="fp32", description="Number format the model computes in.")
    threads: int = Field(default=1, ge=1, le=256, description="CPU threads of one replica's encoder.")
    streams: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Runs of the encoder at the same time, each on its part of `threads`; more than that many are not "
        "made. For `engine: torch` on a CPU; others make one.",
    )
    engine: EngineName = Field(
        default="torch",
        description="What runs the model: `torch`; `torch-compile` (slow to start, CUDA graphs on a GPU); "
        "`onnxruntime` and `onnxruntime-int8` (CPU, fp32, the extra `onnx`). `secondlook bench engine` measures them.",
    )

    @property
    def most_streams(self) -> int:
        """Streams that have a thread."""
        return min(self.streams, self.threads)

    @property
    def number_format(self) -> Literal["fp32", "fp16", "bf16", "int8"]:
        """What embeddings are computed in, and so stored under: those of int8 are others than those of fp32."""
        return "int8" if self.engine == "onnxruntime-int8" else self.precision

    @model_validator(mode="after")
    def _engine_takes_the_model(self) -> Self:
        if self.engine.startswith("onnxruntime") and (self.device, self.precision) != ("cpu", "fp32"):
            raise ValueError(f"engine: {self.engine} runs on `device: cpu` and takes `precision: fp32`")
        return self

    @model_validator(mode="after")
    def _weights_are_named(self) -> Self:
        has_scheme = self.architecture.startswith(("hf-hub:", "local-dir:"))
        if has_scheme and self.pretrained is not None:
            raise ValueError("pretrained: not allowed with hf-hub: and local-dir: architectures")
        if not has_scheme and self.pretrained is None:
            raise ValueError("pretrained: required (a tag, a path or `random`)")
        return self


class ResourcesConfig(_Strict):
    """What Ray reserves for one replica."""

    num_cpus: Annotated[float, Field(ge=0, description="CPU cores reserved per replica; fractions allowed.")] = 1
    num_gpus: Annotated[float, Field(ge=0, description="GPUs reserved per replica; fractions allowed.")] = 0
    custom: dict[str, float] = Field(
        default_factory=dict, description="Custom Ray resources per replica, to place a tier on a node pool."
    )


class AutoscalingConfig(_Strict):
    """How many replicas a deployment may have, and when it gets more or fewer."""

    min_replicas: int = Field(default=1, ge=1, description="Replicas kept even when idle.")
    max_replicas: int = Field(default=1, ge=1, description="Replicas at most.")
    target_ongoing_requests: float = Field(
        default=4, gt=0, description="Calls in progress per replica that autoscaling aims for."
    )
    upscale_delay_s: float = Field(default=2, ge=0, description="Seconds of excess load before scaling up.")
    downscale_delay_s: float = Field(default=60, ge=0, description="Seconds of slack before scaling down.")
    upscaling_factor: float = Field(
        default=1.0, gt=0, description="How much of the lack is made up at once; above 1 more than that."
    )
    downscaling_factor: float = Field(
        default=0.5, gt=0, description="How much of the excess goes at once; below 1 the way down has steps."
    )
    look_back_s: float = Field(
        default=5, gt=0, description="Seconds over which the load is averaged; the last moments of it decide."
    )
    max_replicas_per_node: int | None = Field(
        default=None, ge=1, le=100, description="Replicas on one node at most, so that losing a node loses few."
    )

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas: must be at least min_replicas")
        return self


class BatchConfig(_Strict):
    """How a replica groups items into one run of its encoder."""

    max_images: int = Field(
        default=16,
        ge=1,
        le=1024,
        description="Images per run of the encoder at most; fewer where they give 95 % of the throughput.",
    )
    max_texts: int = Field(
        default=64, ge=1, le=4096, description="Texts per run of the encoder at most; as with images."
    )
    max_queued_items: int = Field(
        default=1024, ge=1, description="Items waiting in one replica; further ones are shed."
    )
    warm_up_share: float = Field(
        default=0.1,
        gt=0,
        le=0.5,
        description="Share of a busy encoder, and of the queue before it, which warm-up traffic gets. It takes more "
        "only where no live item waits.",
    )
    preprocess_threads: int = Field(default=1, ge=1, le=64, description="Threads that decode and tokenize.")


class HealthConfig(_Strict):
    """When Ray Serve checks a replica and gives it up."""

    period_s: float = Field(default=2, gt=0, description="Seconds between health checks.")
    timeout_s: float = Field(default=10, gt=0, description="Seconds after which a check counts as failed.")
    max_run_s: float = Field(
        default=60,
        gt=0,
        description="Seconds one run of the encoder, or an answer to the canary, may take before the replica is "
        "unhealthy.",
    )
    canary_period_s: float = Field(
        default=30,
        gt=0,
        description="Seconds between two canaries: a picture and a text whose embeddings are known from the start. A "
        "replica whose answer has changed is replaced.",
    )
    min_free_memory: float = Field(
        default=0.02,
        ge=0,
        lt=1,
        description="Share of a GPU's memory that must be free; below it a replica is unhealthy.",
    )


class ImageLimits(_Strict):
    """What a picture may be, checked on its header before it is decoded."""

    max_pixels: int = Field(default=25_000_000, ge=1, description="Width x height, at most.")
    min_side_px: int = Field(default=3, ge=1, description="Pixels on the shorter side, at least.")
    max_aspect: float = Field(
        default=100,
        ge=1,
        description="Longer side over shorter side, at most: the shorter one is scaled to the model's input, and the "
        "longer one grows with it.",
    )


class TierConfig(_Strict):
    """One tier: a model, the resources of a replica, and its bounds."""

    model: ModelConfig
    resources: ResourcesConfig = ResourcesConfig()
    autoscaling: AutoscalingConfig = AutoscalingConfig()
    batch: BatchConfig = BatchConfig()
    health: HealthConfig = HealthConfig()
    images: ImageLimits = ImageLimits()
    max_ongoing_requests: int = Field(
        default=128, ge=1, description="Calls one replica admits at once; routers send 64 each at most by default."
    )
    max_queued_requests: int = Field(
        default=64, ge=-1, description="Calls waiting for a replica per router; -1 for no bound."
    )
    graceful_shutdown_s: float = Field(default=10, gt=0, description="Seconds a stopping replica may finish in.")
