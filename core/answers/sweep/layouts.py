"""Which deployments of a model one GPU type and engine can run, and why the others cannot."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from core.models import ModelSpec
from core.physics import drafter as drafters
from core.physics import images, lora
from core.physics.network import gpus_of_a_machine, spans
from core.physics.shapes import misfit
from core.products import engines
from core.products.architectures import unrunnable
from core.products.containers import made_otherwise
from core.products.engines import find as find_engine
from core.products.formats import FORMATS, KV_FORMATS, Format, KvFormat, find, find_kv
from core.products.gpus import GpuSpec
from core.products.halves import only_fp32, too_narrow
from core.products.kernels import kv_sixteen, kv_unsupported, pointless, sixteen, unsupported
from core.products.versions import launched_release
from core.terms import Deployment, Workload

DEFAULT_ENGINE: Final = engines.DEFAULT
DEFAULT_GPU_COUNTS: Final = (1, 2, 4, 8)
STRUCTURE: Final = "structure"      # what refuses a split that the links or the model's shapes do not allow
KERNELS: Final = "kernels"
CACHE: Final = "cache"
SIXTEEN_BIT: Final = 16.0
NOTHING_MORE: Final = Workload()
_DTYPES: Final = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp16"}   # servers cast FP32 down


@dataclass(frozen=True, slots=True)
class Refusal:
    """A choice that does not run here, and why."""

    choice: str                # label of the weight or KV format, or the number of GPUs
    reason: str                # one sentence
    by: str = KERNELS          # of the weights; CACHE: of the KV cache; STRUCTURE: how the model divides and is joined


@dataclass(frozen=True, slots=True)
class Layouts:
    """Deployments that run, and choices that do not."""

    deployments: tuple[Deployment, ...]
    refusals: tuple[Refusal, ...]


def layouts(
    spec: ModelSpec,
    gpu: GpuSpec,
    engine: str = DEFAULT_ENGINE,
    *,
    formats: Sequence[str] | None = None,
    kv_formats: Sequence[str] | None = None,
    tps: Sequence[int] = DEFAULT_GPU_COUNTS,
    asked: Workload = NOTHING_MORE,
) -> Layouts:
    """Every weight format x KV format x number of GPUs that has kernels and divides the model.

    Of what is `asked` it takes how the model is run: what drafts, holds weights, is shown or adapted.
    Without `formats` the ones that make sense for the repository: its own when it ships quantised,
    else 16 bits in the model's own dtype and everything it can be quantised to.
    """
    if reason := unrunnable(spec.family, engine):
        return Layouts((), (Refusal(find_engine(engine).label, reason, STRUCTURE),))
    refusals: list[Refusal] = []
    plain = Deployment(
        gpu, FORMATS["bf16"], KV_FORMATS["bf16"], engine=engine,
        engine_version=launched_release(engine), drafter=asked.drafter,
        host=asked.host if find_engine(engine).hosts_weights else None,
        nodes=asked.nodes, network_gbit_per_s=asked.network_gbit_per_s,
        images=asked.pictures, adapters=asked.adapters,
    )
    for what, reason in (("Speculative decoding", drafters.missing(spec, plain)),
                         ("Images", images.missing(spec, plain)), ("LoRA adapters", lora.missing(plain))):
        if reason:
            return Layouts((), (Refusal(what, reason, STRUCTURE),))
    choices = weight_choices(spec, gpu, engine, formats)
    weights = list(_runnable(choices, gpu, engine, refusals, is_named=formats is not None or len(choices) == 1))
    unread = {fmt: reason for fmt in weights if (reason := too_narrow(fmt, spec.family, gpu, engine)
                                                 or not_read_as_shipped(spec, fmt, engine))}
    refusals += [Refusal(fmt.label, reason) for fmt, reason in unread.items()]
    weights = [fmt for fmt in weights if fmt not in unread]
    caches = list(_runnable_caches(kv_choices(spec, gpu, engine, kv_formats), gpu, engine, refusals))
    deployments = []
    for count in tps:
        if reason := unlinked(gpu, count, engine, asked.nodes):
            refusals.append(Refusal(f"{count} GPUs", reason, STRUCTURE))
            continue
        for fmt in weights:
            found = [ways(spec, replace(plain, weights=fmt, kv_cache=kv), count) for kv in caches]
            deployments += [way for some in found if not isinstance(some, str) for way in some]
            refusals += [Refusal(f"{fmt.label} on {count} GPUs", reason, STRUCTURE)
                         for reason in found[:1] if isinstance(reason, str)]
    return Layouts(tuple(deployments), _first_things_first(refusals, bool(weights)))


def _first_things_first(refusals: Sequence[Refusal], some_weights_run: bool) -> tuple[Refusal, ...]:
    """The reason that decides before the others: kernels of the weights where none run, else how the model divides."""
    order = (STRUCTURE, KERNELS, CACHE) if some_weights_run else (KERNELS, STRUCTURE, CACHE)
    return tuple(sorted(refusals, key=lambda refusal: order.index(refusal.by)))


def unlinked(gpu: GpuSpec, count: int, engine: str, nodes: int = 1) -> str | None:
    """Why that many over so many machines cannot work together, or None.

    Their own link ends and there is no PCIe beyond it, or a network joins them, which not every engine can use.
    """
    serving, holds = find_engine(engine), gpus_of_a_machine(gpu)
    if count > 1 and "between machines" in gpu.link and not serving.joins_machines:
        return f"{serving.label} does not join machines, and each has one {gpu.name}."
    if count > 1 and (nodes > 1 or count > holds) and not serving.joins_machines:
        return f"{serving.label} does not join machines, and one has at most {holds} × {gpu.name}."
    if count % nodes:
        return f"{count} {'GPU does' if count == 1 else 'GPUs do'} not spread evenly over {nodes} machines."
    if count > gpu.link_gpus and gpu.pcie_bytes_per_s is None:
        return f"{gpu.link} joins at most {gpu.link_gpus} × {gpu.name}."
    return None


def split(deployment: Deployment, gpus: int) -> Deployment:
    """The deployment over that many GPUs: by tensors, or by layers where the engine knows nothing else."""
    by_layers = find_engine(deployment.engine).splits_layers
    return replace(deployment, tp=1 if by_layers else gpus, pp=gpus if by_layers else 1)


def not_read_as_shipped(spec: ModelSpec, fmt: Format, engine: str) -> str | None:
    """Why the engine does not read the repository's own quantised weights; None for weights that are to be made."""
    shipped = spec.shipped is not None and spec.shipped.format == fmt.name and fmt.bits_per_weight < SIXTEEN_BIT
    return made_otherwise(spec.name, fmt.name, engine) if shipped else None


def ways(spec: ModelSpec, deployment: Deployment, gpus: int) -> tuple[Deployment, ...] | str:
    """The deployment over that many GPUs, the ways that keep tensors inside a machine too; why not, if none is."""
    whole, engine = parted(spec, deployment, gpus), find_engine(deployment.engine)
    machines = spans(split(deployment, gpus)).machines
    if machines == 1 or engine.splits_layers or gpus % machines:
        return whole if isinstance(whole, str) else (whole,)
    inside = parted(spec, replace(deployment, nodes=1), gpus // machines)
    found = [] if isinstance(whole, str) else [whole]
    if not isinstance(inside, str):
        inside = replace(inside, nodes=deployment.nodes)
        staged = replace(inside, pp=machines)
        found += [staged] if misfit(spec, staged) is None else []
        if spec.is_moe and engine.joins_replicas:
            found.append(replace(inside, dp=machines, ep=gpus))
    return tuple(found) or str(whole)


def parted(spec: ModelSpec, deployment: Deployment, gpus: int) -> Deployment | str:
    """The deployment over that many GPUs, with experts whole where they cannot be split; why not, if it cannot be."""
    one = split(deployment, gpus)
    reason = misfit(spec, one)
    if reason is None:
        return one
    whole_experts = replace(one, ep=one.tp)
    return reason if one.tp == 1 or not spec.is_moe or misfit(spec, whole_experts) else whole_experts


def weight_choices(
    spec: ModelSpec, gpu: GpuSpec, engine: str, formats: Sequence[str] | None = None
) -> tuple[Format, ...]:
    """Weight formats worth asking about: a repository that ships quantised is planned as shipped."""
    if formats is not None:
        return tuple(find(name) for name in formats)
    if spec.shipped and FORMATS[spec.shipped.format].bits_per_weight < SIXTEEN_BIT:
        return (FORMATS[spec.shipped.format],)
    if only_fp32(spec.family, gpu, engine):
        return (FORMATS["fp32"],)
    return (sixteen(_DTYPES.get(spec.dtype, "bf16"), gpu, engine), *(
        fmt for fmt in FORMATS.values()
        if fmt.bits_per_weight < SIXTEEN_BIT and (fmt.scope != "experts" or spec.is_moe)
    ))


def kv_choices(
    spec: ModelSpec, gpu: GpuSpec, engine: str, kv_formats: Sequence[str] | None = None
) -> tuple[KvFormat, ...]:
    """KV cache formats worth asking about: 16 bits in the model's dtype, and the smaller ones."""
    if kv_formats is not None:
        return tuple(find_kv(name) for name in kv_formats)
    if only_fp32(spec.family, gpu, engine):
        return (KV_FORMATS["fp32"],)
    plain = kv_sixteen(_DTYPES.get(spec.dtype, "bf16"), gpu, engine)
    if not spec.kv_bytes(1.0, plain):      # states alone, as Mamba's: no cache to make smaller
        return (plain,)
    return (plain, *(kv for kv in KV_FORMATS.values() if kv.bits_per_value < SIXTEEN_BIT))


def _runnable(
    choices: Sequence[Format], gpu: GpuSpec, engine: str, refusals: list[Refusal], *, is_named: bool
) -> Iterator[Format]:
    """Those that run; one that is only slower there is offered where it was named, or is all a repository has."""
    for fmt in choices:
        if reason := (unsupported if is_named else pointless)(fmt, gpu, engine):
            refusals.append(Refusal(fmt.label, reason))
        else:
            yield fmt


def _runnable_caches(
    choices: Sequence[KvFormat], gpu: GpuSpec, engine: str, refusals: list[Refusal]
) -> Iterator[KvFormat]:
    for kv in choices:
        if reason := kv_unsupported(kv, gpu, engine):
            refusals.append(Refusal(f"{kv.name.upper()} KV cache", reason, CACHE))
        else:
            yield kv
