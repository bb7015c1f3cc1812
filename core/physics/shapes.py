"""Whether a model's shapes can be split as a deployment says, and the sentence where they cannot.

Engines check this while they load: heads first, then the scales of the quantised matrices, which cover groups or
blocks of weights and have to lie whole on each rank.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from core.models import Attention, Linear, ModelSpec, Role, Shard
from core.physics.memory.identity import SpecKey
from core.physics.memory.weights import as_shipped
from core.products.engines import find as find_engine
from core.products.formats import Format
from core.terms import Deployment

_MLP: Final = (Role.MLP, Role.SHARED_EXPERT, Role.EXPERT)
_DEGREES: Final = (2, 3, 4, 6, 8, 16, 32, 64)     # of tensor parallelism that machines have


class _Split(NamedTuple):
    """What of a deployment decides: many differ in GPU and KV cache alone."""

    weights: Format
    engine: str
    tp: int
    pp: int
    ep: int
    dp: int


class _Share(NamedTuple):
    """A width that tensor parallelism splits, over so many ranks."""

    name: str
    width: int
    ranks: int


def misfit(spec: ModelSpec, deployment: Deployment) -> str | None:
    """Why the model cannot be split as the deployment says, and what can be; None when it can."""
    d = deployment
    return _misfit(SpecKey(spec), _Split(d.weights, d.engine, d.tp, d.pp, d.ep, d.dp))


@lru_cache(maxsize=8192)
def _misfit(key: SpecKey, d: _Split) -> str | None:
    spec, engine = key.spec, find_engine(d.engine)
    if engine.splits == "nothing" and d.tp * d.pp > 1:
        return f"{engine.label} runs each copy on one GPU."
    if engine.splits_layers:
        stages = d.pp * d.tp
        return None if stages <= spec.n_layers else f"{spec.n_layers} layers cannot be split over {stages} GPUs."
    if reason := _indivisible(spec, d):
        return f"{reason}."
    reason = _splits_scales(spec, d)
    return None if reason is None else f"{reason}; {_instead(spec, d)}."


def _indivisible(spec: ModelSpec, d: _Split) -> str | None:
    """vLLM 0.33 ModelConfig.verify_with_parallel_config: attention heads divide by tp; KV heads are replicated."""
    for mixer, _ in spec.mixers():
        if isinstance(mixer, Attention) and mixer.heads % d.tp:
            return f"{mixer.heads} attention heads do not divide by {d.tp}"
    if d.pp > spec.n_layers:
        return f"{spec.n_layers} layers cannot be split over {d.pp} pipeline stages"
    return None


def _splits_scales(spec: ModelSpec, d: _Split) -> str | None:
    """The first matrix whose scales would be cut."""
    block = _block(spec, d)
    if block:
        return next((f"{share.name} {share.width:,} / {share.ranks} = {share.width / share.ranks:g} is no multiple of "
                     f"the {block} that an FP8 scale covers"
                     for share in _shares(spec, d) if share.width % (block * share.ranks)), None)
    group = d.weights.group_size
    if not group:
        return None
    return next((f"its groups of {group} do not divide: {linear.inputs:,} inputs over {_ranks(linear, d)} GPUs; "
                 f"{find_engine(d.engine).label} needs whole groups on each"
                 for linear in _grouped(spec, d) if linear.inputs % (group * _ranks(linear, d))), None)


def _block(spec: ModelSpec, d: _Split) -> int | None:
    """Rows and columns under one FP8 scale; None where a scale covers whole rows or matrices."""
    shipped = as_shipped(spec, d.weights)
    return shipped.block if shipped and d.weights.name == "fp8" else None


def _shares(spec: ModelSpec, d: _Split) -> Iterator[_Share]:
    """Widths that have to be whole blocks on each rank.

    vLLM 0.33 fp8_utils `validate_fp8_block_shape` for parallel linears and `Fp8MoEMethod.create_weights` for experts.
    """
    sixteen_bit = {role for role, name in spec.shipped.role_formats if name != "fp8"} if spec.shipped else set()
    if Role.ATTENTION not in sixteen_bit:
        for mixer, _ in spec.mixers():
            if isinstance(mixer, Attention):
                yield _Share("query rows", mixer.heads * mixer.qk_dim, d.tp)
                yield _Share("key rows", mixer.kv_heads * mixer.qk_dim, min(d.tp, mixer.kv_heads))
                yield _Share("attention outputs", mixer.heads * mixer.v_dim, d.tp)
    for linear, _ in spec.linears():
        if linear.role in _MLP and linear.role not in sixteen_bit and linear.shard is Shard.ROW:
            part = "MLP" if linear.role is Role.MLP else linear.role
            yield _Share(f"{part} width", linear.inputs, _ranks(linear, d))


def _grouped(spec: ModelSpec, d: _Split) -> Iterator[Linear]:
    """Matrices whose inputs are split and stored in groups, which 4-bit and 8-bit kernels need whole on each rank.

    vLLM 0.33 `verify_marlin_supports_shape`. Left out are inputs that quantisers pad, since no split suits them: no
    whole number of groups, or an odd one (Qwen2.5-72B-Instruct-AWQ stores 29,696 inputs where the model has 29,568);
    and MXFP4 experts, which the engines pad while loading.
    """
    group = d.weights.group_size or 1
    if d.weights.scope == "experts":
        return
    for linear, _ in spec.linears():
        if linear.shard is Shard.ROW and linear.inputs % (2 * group) == 0:
            yield linear


def _ranks(linear: Linear, d: _Split) -> int:
    """GPUs that one matrix is split over: experts stay whole where expert parallelism hands them out."""
    if linear.experts and d.ep > 1:
        return max(1, d.tp * d.dp // d.ep)
    return d.tp


def _instead(spec: ModelSpec, d: _Split) -> str:
    """The nearest degrees that work, smaller ones first."""
    ways = []
    whole_experts = d._replace(ep=d.tp * d.dp)
    if spec.is_moe and d.ep == 1 and d.tp > 1 and not _splits_scales(spec, whole_experts):
        ways.append("expert parallelism")
    degrees = [1, *(n for n in _DEGREES if n < d.tp)]
    ways += [f"tp {n}" for n in reversed(degrees) if _splits(spec, d._replace(tp=n, ep=1))][:1]
    return f"{' or '.join(ways)} works" if ways else "no degree of tensor parallelism works"


def _splits(spec: ModelSpec, d: _Split) -> bool:
    return not (_indivisible(spec, d) or _splits_scales(spec, d))
