"""What a probe will measure: every point with its shape, bytes and FLOPs, for one model on one device.

Plain data without torch: the page counts it, the worker runs it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from core.basics.errors import ProbeError
from core.basics.units import GIB
from core.models import Attention, Layer, Linear, ModelSpec, Role, distinct_experts
from core.probe.measurement import Quantity

SIXTEEN: Final = 2.0                    # bytes of an activation
GROUP: Final = 128                      # weights that share a scale in the INT4 layouts
WEIGHT_BYTES: Final[Mapping[str, float]] = {    # of one weight, scales and packed zero points included
    "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "w8a8-int8": 1.0,
    "int4": 0.5 + 4 / GROUP, "awq-int4": 0.5 + 2.5 / GROUP, "gptq-int4": 0.5 + 2.5 / GROUP,
    "bnb-nf4": 0.5 + 4 / 64, "bnb-int8": 1.0,
}
OPTIONAL: Final = ("humming-kernels", "bitsandbytes")   # faster kernels, where they are installed
KV_BYTES: Final[Mapping[str, float]] = {"bf16": 2.0, "fp8": 1.0}
DTYPE_BYTES: Final[Mapping[str, float]] = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0}
BLOCK_CONTEXT: Final = 1024
LARGEST_CACHE: Final = 2**20            # tokens over all sequences: the first to go when time is short
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
    matrices: tuple[tuple[int, int, int, int], ...] = ()    # of a block: (K, N, experts, experts per token)
    rank: int = 0                       # 0 is measured first; the highest go when time is short
    closing: bool = False               # measured once more when the card is warm, in any case


def task_of(item: Mapping[str, Any]) -> Task:
    """A task from its JSON."""
    matrices = tuple((int(K), int(N), int(E), int(k)) for K, N, E, k in item["matrices"])
    return Task(
        Quantity(item["quantity"]), item["format"], item["shape"], item["bytes"], item["flops"], matrices,
        closing=item["closing"],
    )


def named(task: Task) -> str:
    """A task for people: quantity, format and shape, as "linear fp8 M=16 K=4096 N=4096"."""
    return f"{task.quantity} {task.format} " + " ".join(f"{name}={value}" for name, value in task.shape.items())


@dataclass(frozen=True, slots=True)
class Order:
    """A probe as it is handed to the worker."""

    model: str
    device: str                         # "cpu", "cuda:0"
    seconds: float                      # deadline of the whole
    tasks: tuple[Task, ...]
    layers: int                         # of the whole model
    ranks: int = 1                      # GPUs of this host that sum their results in `all_reduces`
    all_reduces: tuple[Task, ...] = ()
    memory_bytes: float | None = None   # beyond what torch itself takes; None: all there is
    torch_alone: bool = False           # no kernels but torch's own: after another one's fault
    remarks: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The order in plain values, ready for JSON."""
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
    block_formats: Sequence[str]        # of whole layers without experts
    expert_formats: Sequence[str]       # of grouped matmuls and of layers with experts


GPU: Final = Extent(
    sizes=[2**power for power in range(20, 31, 2)], rows=[2**power for power in range(12)],
    matmul_rows=[1, 16, 128, 512, 1024, 2048, 4096, 8192],
    attention=[(b, c) for b in (1, 8, 32, 128) for c in (512, 2048, 8192, 32768) if b * c <= 2**20],
    expert_rows=[1, 8, 64, 512, 2048], depths=(2, 8, 4), block_batches=(1, 16, 64, 256), head_batches=(1, 16, 64, 256),
    prefill_tokens=(512, 2048), weights=float("inf"),
    formats=tuple(WEIGHT_BYTES), dtypes=tuple(DTYPE_BYTES), kv_formats=tuple(KV_BYTES),
    block_formats=("bf16", "fp8", "awq-int4"), expert_formats=("bf16", "gptq-int4"),
)
CPU: Final = Extent(
    sizes=[2**power for power in range(20, 26, 2)], rows=(1, 8, 64), matmul_rows=(1, 128),
    attention=[(1, 512), (1, 2048), (4, 2048)], expert_rows=(1, 8), depths=(1, 3, 2), block_batches=(1, 4),
    head_batches=(1, 8), prefill_tokens=(128,), weights=CPU_WEIGHTS,
    formats=("bf16", "int8", "w8a8-int8", "int4", "bnb-nf4", "bnb-int8"), dtypes=("bf16", "int8"),
    kv_formats=("bf16",), block_formats=("bf16", "int4"), expert_formats=("bf16",),
)
KEY_ROWS: Final = frozenset({1, 8, 64, 256, 2048})     # of a linear: enough to see where a format stops paying
LARGE_ROWS: Final = 4096            # of a matmul that is as fast as it gets
REDUCED: Final = tuple(2**power for power in range(14, 27, 3))      # bytes summed over GPUs
CLOSING: Final = frozenset({Quantity.COPY, Quantity.READ, Quantity.MATMUL})     # what a warm card may be slower at
ALL_REDUCE_S: Final = 15.0          # for starting as many processes as GPUs, and their points


def order(
    spec: ModelSpec, device: str, seconds: float, free_bytes: float | None = None, ranks: int = 1,
) -> Order:
    """Everything to measure for a model's shapes on `device`, by rank: what matters most first, ceilings again last.

    `free_bytes` is the memory a processor's machine has to spare; `ranks` GPUs of the host sum results
    when there are several. Raises ProbeError for a model without matrices to measure.
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
    ]
    too_large = any(linear.inputs * linear.outputs > extent.weights for linear in (*layer.linears, spec.head))
    remarks: tuple[str, ...] = ()
    if too_large:
        remarks += (f"Matrices were cut to {CPU_WEIGHTS / 1e6:.1f} M weights to be quick on a processor.",)
    if extent is CPU:
        remarks += ("FP8 and the AWQ and GPTQ layouts are measured on GPUs only.",)
    limit = None if free_bytes is None else max(GIB, CPU_SHARE * free_bytes)
    closing = tuple(replace(task, closing=True) for task in tasks if task.quantity in CLOSING and task.rank == 0)
    return Order(
        spec.name, device, seconds - (ALL_REDUCE_S if ranks > 1 else 0.0),
        (*sorted(tasks, key=lambda task: task.rank), *closing), spec.n_layers, ranks, _all_reduces(ranks),
        memory_bytes=limit, remarks=remarks,
    )


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
            yield Task(quantity, "bytes", {"size": size}, passes * size, rank=0 if size == max(sizes) else 1)


def _product(quantity: Quantity, fmt: str, M: int, K: int, N: int, weight_bytes: float, rank: int) -> Task:
    moved = K * N * weight_bytes + M * (K + N) * SIXTEEN
    return Task(quantity, fmt, {"M": M, "N": N, "K": K}, moved, 2.0 * M * N * K, rank=rank)


def _matmuls(shape: tuple[int, int], extent: Extent) -> Iterator[Task]:
    """The matrix units' rate in each dtype at the model's largest matrix."""
    for dtype in extent.dtypes:
        for M in extent.matmul_rows:
            yield _product(Quantity.MATMUL, dtype, M, *shape, DTYPE_BYTES[dtype], rank=0 if M == LARGE_ROWS else 2)


def _linears(shapes: Sequence[tuple[int, int]], extent: Extent) -> Iterator[Task]:
    """Every format over M at the largest matrix, and at M = 1 for the others."""
    for fmt in extent.formats:
        for M in extent.rows:
            rank = 0 if M in KEY_ROWS else 2
            yield _product(Quantity.LINEAR, fmt, M, *shapes[0], WEIGHT_BYTES[fmt], rank)
        for shape in shapes[1:]:
            yield _product(Quantity.LINEAR, fmt, 1, *shape, WEIGHT_BYTES[fmt], rank=3)


def _attention(layer: Layer, extent: Extent) -> Iterator[Task]:
    """Decode attention of one layer; only where it is the ordinary kind."""
    mixer = next((mixer for mixer in layer.mixers if isinstance(mixer, Attention)), None)
    if mixer is None or mixer.qk_dim != mixer.v_dim:
        return
    middle = extent.attention[len(extent.attention) // 2]
    for kv in extent.kv_formats:
        for batch, context in extent.attention:
            values = batch * context * mixer.kv_heads * (mixer.qk_dim + mixer.v_dim)
            heads = {"heads": mixer.heads, "kv_heads": mixer.kv_heads, "head_dim": mixer.qk_dim}
            flops = 2.0 * batch * context * mixer.heads * (mixer.qk_dim + mixer.v_dim)
            shape = {"batch": batch, "context": context, **heads}
            rank = 0 if (batch, context) == middle else 3 if batch * context == LARGEST_CACHE else 2
            yield Task(Quantity.ATTENTION, kv, shape, values * KV_BYTES[kv], flops, rank=rank)


def _experts(linears: Sequence[Linear], extent: Extent) -> Iterator[Task]:
    """Grouped matmuls: M tokens, each sent to its experts."""
    for linear in linears[:1]:
        K, N = cut(linear, extent)
        for fmt in extent.expert_formats:
            for M in extent.expert_rows:
                touched = float(distinct_experts(linear.experts, linear.experts_per_token, M))
                rows = M * linear.experts_per_token
                shape = {
                    "M": M, "N": N, "K": K, "experts": linear.experts, "experts_per_token": linear.experts_per_token,
                }
                moved = touched * K * N * WEIGHT_BYTES[fmt] + rows * (K + N) * SIXTEEN
                yield Task(Quantity.EXPERTS, fmt, shape, moved, 2.0 * rows * N * K, rank=0 if M in KEY_ROWS else 2)


def _blocks(layer: Layer, extent: Extent) -> Iterator[Task]:
    """Stacks of whole layers: decode at a few depths, the third for how far the line is off, and a layer's prefill."""
    mixer = next((mixer for mixer in layer.mixers if isinstance(mixer, Attention)), None)
    heads = {"heads": mixer.heads, "kv_heads": mixer.kv_heads, "head_dim": mixer.qk_dim} if mixer else {}
    matrices = tuple(
        (*cut(linear, extent), linear.experts, linear.experts_per_token)
        for linear in layer.linears if linear.role is not Role.ROUTER
    )
    formats = extent.expert_formats if any(experts for _, _, experts, _ in matrices) else extent.block_formats
    for fmt in formats:
        for batch in extent.block_batches:
            for position, depth in enumerate(extent.depths):
                shape = {"layers": depth, "batch": batch, "context": BLOCK_CONTEXT, **heads}
                moved = depth * sum(K * N * max(1, E) for K, N, E, _ in matrices) * WEIGHT_BYTES[fmt]
                flops = 2.0 * depth * batch * sum(K * N * max(1, k) for K, N, _, k in matrices)
                yield Task(Quantity.BLOCK, fmt, shape, moved, flops, matrices, rank=1 if position < 2 else 2)
    for tokens in extent.prefill_tokens:
        flops = 2.0 * tokens * sum(K * N * max(1, k) for K, N, _, k in matrices)
        yield Task(Quantity.PREFILL, "bf16", {"tokens": tokens, **heads}, 0.0, flops, matrices, rank=2)


def _heads(head: Linear, extent: Extent) -> Iterator[Task]:
    K, N = cut(head, extent)
    for batch in extent.head_batches:
        yield Task(
            Quantity.HEAD, "bf16", {"batch": batch, "N": N, "K": K}, (K * N + batch * (K + N)) * SIXTEEN,
            2.0 * batch * N * K, rank=1,
        )


def _all_reduces(ranks: int) -> tuple[Task, ...]:
    """Sums over all ranks; bytes are what one GPU sends in a ring, 2 (n - 1) / n of the size (nccl-tests: busbw)."""
    if ranks < 2:
        return ()
    sent = 2 * (ranks - 1) / ranks
    return tuple(Task(Quantity.ALL_REDUCE, "bf16", {"size": size, "gpus": ranks}, sent * size) for size in REDUCED)
