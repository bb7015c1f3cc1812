"""What a probe will measure: every point with its shape, bytes and FLOPs, for one model on one device.

Plain data without torch: the page counts it, the worker runs it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from core.errors import ProbeError
from core.models import Attention, Layer, Linear, ModelSpec, Role, distinct_experts
from core.probe.measurement import Quantity
from core.units import GIB

SIXTEEN: Final = 2.0                    # bytes of an activation
GROUP: Final = 128                      # weights that share a scale in the INT4 layouts
WEIGHT_BYTES: Final[Mapping[str, float]] = {    # of one weight, 16-bit scales and packed zero points included
    "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "w8a8-int8": 1.0,
    "int4": 0.5 + 4 / GROUP, "awq-int4": 0.5 + 2.5 / GROUP, "gptq-int4": 0.5 + 2.5 / GROUP,
}
KV_BYTES: Final[Mapping[str, float]] = {"bf16": 2.0, "fp8": 1.0}
DTYPE_BYTES: Final[Mapping[str, float]] = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0}
BLOCK_CONTEXT: Final = 1024
CPU_THREADS: Final = 1                  # integer matmuls of torch are slower on more
CPU_WEIGHTS: Final = 2**20              # of one matrix, so that a point takes milliseconds
CPU_SHARE: Final = 0.5                  # of the free memory a probe on a processor may take


@dataclass(frozen=True, slots=True)
class Task:
    """One point to measure."""

    quantity: Quantity
    format: str
    shape: Mapping[str, int]
    bytes: float = 0.0
    flops: float = 0.0
    matrices: tuple[tuple[int, int, int, int], ...] = ()    # of a block: (K, N, experts, experts a token)


@dataclass(frozen=True, slots=True)
class Order:
    """A probe as it is handed to the worker."""

    model: str
    device: str                         # "cpu", "cuda:0"
    seconds: float                      # deadline of the whole
    tasks: tuple[Task, ...]
    layers: int                         # of the whole model
    memory_bytes: float | None = None   # beyond what torch itself takes; None: all there is
    remarks: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a probe goes on a kind of device."""

    sizes: Sequence[int]                # bytes copied and read
    rows: Sequence[int]                 # M of linears
    matmul_rows: Sequence[int]
    attention: Sequence[tuple[int, int]]    # batch, context
    expert_rows: Sequence[int]
    depths: Sequence[int]
    block_batches: Sequence[int]
    head_batches: Sequence[int]
    prefill_tokens: Sequence[int]
    weights: float                      # largest matrix [weights]
    formats: Sequence[str]              # of linears
    dtypes: Sequence[str]               # of matmuls
    kv_formats: Sequence[str]


GPU: Final = Extent(
    sizes=[2**power for power in range(20, 31, 2)], rows=[2**power for power in range(12)],
    matmul_rows=[1, 16, 128, 512, 1024, 2048, 4096, 8192],
    attention=[(b, c) for b in (1, 8, 32, 128) for c in (512, 2048, 8192, 32768) if b * c <= 2**20],
    expert_rows=[1, 8, 64, 512, 2048], depths=(2, 4, 8), block_batches=(1, 16, 64), head_batches=(1, 16, 64, 256),
    prefill_tokens=(512, 2048), weights=float("inf"),
    formats=tuple(WEIGHT_BYTES), dtypes=tuple(DTYPE_BYTES), kv_formats=tuple(KV_BYTES),
)
CPU: Final = Extent(
    sizes=[2**power for power in range(20, 26, 2)], rows=(1, 8, 64), matmul_rows=(1, 128),
    attention=[(1, 512), (1, 2048), (4, 2048)], expert_rows=(1, 8), depths=(1, 2, 3), block_batches=(1, 4),
    head_batches=(1, 8), prefill_tokens=(128,), weights=CPU_WEIGHTS,
    formats=("bf16", "int8", "w8a8-int8", "int4"), dtypes=("bf16", "int8"), kv_formats=("bf16",),
)


def order(spec: ModelSpec, device: str, seconds: float, free_bytes: float | None = None) -> Order:
    """Everything to measure for a model's shapes on `device`, bandwidth first and again at the end.

    `free_bytes` is the memory a processor's machine has to spare. Raises ProbeError for a model
    without matrices to measure.
    """
    extent = CPU if device == "cpu" else GPU
    layer = max(spec.layers, key=lambda one: one.count)
    if not layer.linears:
        raise ProbeError(f"{spec.name} has no layer with matrices to measure.")
    dense = _largest([linear for linear in layer.linears if not linear.experts] or [spec.head], extent)
    experts = [linear for linear in layer.linears if linear.experts]
    tasks = [
        *_streams(extent.sizes),
        *_matmuls(dense[0], extent),
        *_linears(dense, extent),
        *_attention(layer, extent),
        *_experts(experts, extent),
        *_blocks(layer, extent),
        *_heads(spec.head, extent),
        *_streams(extent.sizes[-1:]),
    ]
    too_large = any(linear.inputs * linear.outputs > extent.weights for linear in (*layer.linears, spec.head))
    remarks: tuple[str, ...] = ()
    if too_large:
        remarks += (f"Matrices were cut to {CPU_WEIGHTS / 1e6:.1f} M weights to be quick on a processor.",)
    if extent is CPU:
        remarks += ("FP8 and the AWQ and GPTQ layouts are measured on GPUs only.",)
    limit = None if free_bytes is None else max(GIB, CPU_SHARE * free_bytes)
    return Order(spec.name, device, seconds, tuple(tasks), spec.n_layers, limit, remarks)


def cut(linear: Linear, extent: Extent) -> tuple[int, int]:
    """(K, N) of a matrix; fewer outputs, in multiples of 64, where it is larger than the device is asked for."""
    K, N = linear.inputs, linear.outputs
    return (K, N) if extent.weights >= K * N else (K, max(64, int(extent.weights / K) // 64 * 64))


def _largest(linears: Sequence[Linear], extent: Extent) -> list[tuple[int, int]]:
    """Distinct shapes (K, N), largest first."""
    return sorted({cut(linear, extent) for linear in linears}, key=lambda shape: -shape[0] * shape[1])


def _streams(sizes: Sequence[int]) -> Iterator[Task]:
    for quantity, passes in ((Quantity.COPY, 2.0), (Quantity.READ, 1.0)):
        for size in sizes:
            yield Task(quantity, "bytes", {"size": size}, passes * size)


def _product(quantity: Quantity, fmt: str, M: int, K: int, N: int, weight_bytes: float) -> Task:
    moved = K * N * weight_bytes + M * (K + N) * SIXTEEN
    return Task(quantity, fmt, {"M": M, "N": N, "K": K}, moved, 2.0 * M * N * K)


def _matmuls(shape: tuple[int, int], extent: Extent) -> Iterator[Task]:
    """The matrix units' rate in each dtype at the model's largest matrix."""
    for dtype in extent.dtypes:
        for M in extent.matmul_rows:
            yield _product(Quantity.MATMUL, dtype, M, *shape, DTYPE_BYTES[dtype])


def _linears(shapes: Sequence[tuple[int, int]], extent: Extent) -> Iterator[Task]:
    """Every format over M at the largest matrix, and at M = 1 for the others."""
    for fmt in extent.formats:
        for M in extent.rows:
            yield _product(Quantity.LINEAR, fmt, M, *shapes[0], WEIGHT_BYTES[fmt])
        for shape in shapes[1:]:
            yield _product(Quantity.LINEAR, fmt, 1, *shape, WEIGHT_BYTES[fmt])


def _attention(layer: Layer, extent: Extent) -> Iterator[Task]:
    """Decode attention of one layer; only where it is the ordinary kind."""
    mixer = next((mixer for mixer in layer.mixers if isinstance(mixer, Attention)), None)
    if mixer is None or mixer.qk_dim != mixer.v_dim:
        return
    for kv in extent.kv_formats:
        for batch, context in extent.attention:
            values = batch * context * mixer.kv_heads * (mixer.qk_dim + mixer.v_dim)
            heads = {"heads": mixer.heads, "kv_heads": mixer.kv_heads, "head_dim": mixer.qk_dim}
            flops = 2.0 * batch * context * mixer.heads * (mixer.qk_dim + mixer.v_dim)
            shape = {"batch": batch, "context": context, **heads}
            yield Task(Quantity.ATTENTION, kv, shape, values * KV_BYTES[kv], flops)


def _experts(linears: Sequence[Linear], extent: Extent) -> Iterator[Task]:
    """Grouped matmuls: M tokens, each sent to its experts."""
    for linear in linears[:1]:
        K, N = cut(linear, extent)
        for M in extent.expert_rows:
            touched = float(distinct_experts(linear.experts, linear.experts_per_token, M))
            rows = M * linear.experts_per_token
            shape = {"M": M, "N": N, "K": K, "experts": linear.experts, "experts_per_token": linear.experts_per_token}
            moved = touched * K * N * SIXTEEN + rows * (K + N) * SIXTEEN
            yield Task(Quantity.EXPERTS, "bf16", shape, moved, 2.0 * rows * N * K)


def _blocks(layer: Layer, extent: Extent) -> Iterator[Task]:
    """Stacks of whole layers: decode at a few depths, and one layer's prefill."""
    mixer = next((mixer for mixer in layer.mixers if isinstance(mixer, Attention)), None)
    heads = {"heads": mixer.heads, "kv_heads": mixer.kv_heads, "head_dim": mixer.qk_dim} if mixer else {}
    matrices = tuple(
        (*cut(linear, extent), linear.experts, linear.experts_per_token)
        for linear in layer.linears if linear.role is not Role.ROUTER
    )
    for fmt in ("bf16", "fp8", "awq-int4") if extent is GPU and not any(m[2] for m in matrices) else ("bf16",):
        for batch in extent.block_batches:
            for depth in extent.depths:
                shape = {"layers": depth, "batch": batch, "context": BLOCK_CONTEXT, **heads}
                moved = depth * sum(K * N * max(1, E) for K, N, E, _ in matrices) * WEIGHT_BYTES[fmt]
                flops = 2.0 * depth * batch * sum(K * N * max(1, k) for K, N, _, k in matrices)
                yield Task(Quantity.BLOCK, fmt, shape, moved, flops, matrices)
    for tokens in extent.prefill_tokens:
        flops = 2.0 * tokens * sum(K * N * max(1, k) for K, N, _, k in matrices)
        yield Task(Quantity.PREFILL, "bf16", {"tokens": tokens, **heads}, 0.0, flops, matrices)


def _heads(head: Linear, extent: Extent) -> Iterator[Task]:
    K, N = cut(head, extent)
    for batch in extent.head_batches:
        yield Task(
            Quantity.HEAD, "bf16", {"batch": batch, "N": N, "K": K}, (K * N + batch * (K + N)) * SIXTEEN,
            2.0 * batch * N * K,
        )
