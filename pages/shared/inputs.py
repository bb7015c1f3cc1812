"""The questions every page shares, asked once in the sidebar and kept in the URL.

`ask()` draws them and remembers the answers; `asked()` gives them to a page. Each widget's `key`
is its name in the link, so a link opened elsewhere asks the same question.
"""

import math
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.answers.advice import Demand, Remedy
from core.answers.cost import PRICE
from core.basics.errors import SweetspotError
from core.basics.settings import is_public, setting
from core.products import gpus
from core.products.engines import ENGINES
from core.products.formats import FORMATS, KV_FORMATS
from core.products.gpus import GpuSpec
from core.reading import catalogue, hub
from core.terms import INPUTS, Deployment, Workload
from pages.server.bounds import listens_to_this_machine_only
from pages.shared import keeping, load_inputs
from pages.shared.answers import ANY_COUNT, BEST, GENERATIONS, GPU_COUNTS, NAMED_COUNTS, USUAL

CUSTOM_GPU = "Custom GPU"
SESSION = "asked"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the visitor asks for, as typed; nothing in it is known to exist yet."""

    model: str
    gpu: str
    workload: Workload
    demand: Demand | None              # how many requests there are, where that is not the concurrency of the workload
    engine: str | None                 # None: what is usual on the GPU
    gpus: tuple[int, ...]              # GPUs per replica that may be tried
    usd_per_gpu_hour: float | None     # the visitor's own price
    formats: tuple[str, ...] | None    # weight formats to choose from; None: whatever is best
    kv_formats: tuple[str, ...] | None


def asked() -> Asked:
    """The answers given in the sidebar in this run."""
    answers: Asked = st.session_state[SESSION]
    return answers


def ask() -> None:
    """Draws the shared inputs in the sidebar and remembers the answers for `asked()`."""
    _drop_infinities()
    _take_engine_by_name()
    with st.sidebar, st.container(gap="small"):
        model = _model()
        gpu, counts = _gpu()
        workload, demand = load_inputs.load()
        with st.expander("Engine, formats, price", icon=":material/tune:"):
            engine, price = _engine_and_price(gpu)
            weights, cache = _formats()
    st.session_state[SESSION] = Asked(model, gpu, workload, demand, engine, counts, price, weights, cache)


def _drop_infinities() -> None:
    """Takes numbers like 1e999 out of the link: Streamlit 1.67 ignores other rubbish, but fails on int(inf)."""
    infinite = [key for key, value in st.query_params.to_dict().items() if _is_infinite(value)]
    for key in infinite:
        del st.query_params[key]
    if infinite:
        st.rerun()


def _is_infinite(text: str) -> bool:
    try:
        return math.isinf(float(text))
    except ValueError:
        return False


def _take_engine_by_name() -> None:
    """A link may name the engine as commands and files do: Streamlit 1.67 knows an option by its label alone."""
    name = st.query_params.get("engine", "")
    if name in ENGINES and ENGINES[name].label != name:
        st.query_params["engine"] = ENGINES[name].label
        st.rerun()


# -- where things may come from: the administrator's settings -------------------------------------


def hub_endpoint() -> str | None:
    """Address of the Hub or of a mirror (SWEETSPOT_HUB_ENDPOINT); visitors cannot change it."""
    return setting("hub_endpoint")


def local_files_allowed() -> bool:
    """Whether a folder of this machine may be named: when the server listens to this machine only."""
    return not is_public() and listens_to_this_machine_only()


def hub_token() -> str | None:
    """The visitor's Hub token; it lives in the session and nowhere else."""
    token: str | None = st.session_state.get("hub_token")
    return token or None


# -- model ----------------------------------------------------------------------------------------


@st.cache_resource(show_spinner=False)
def _bundled_models() -> list[str]:
    return [card.name for card in catalogue.models()]


def _model() -> str:
    names = list(dict.fromkeys([*keeping.own_models(), *_bundled_models()]))
    folder = ", or a folder with a config.json" if local_files_allowed() else ""
    model = st.selectbox(
        "Model",
        names,
        index=names.index(catalogue.DEFAULT_MODEL),
        key="model",
        bind="query-params",
        accept_new_options=True,
        help=f"Pick one of {len(names)} models, your own first, or type any Hugging Face id{folder}.",
    )
    with st.popover("Search the Hub", icon=":material/search:", width="stretch"):
        _hub_search()
        st.text_input(
            "Access token",
            type="password",
            key="hub_token",
            max_chars=200,
            persist_state="session",
            help="Only for private and gated models. It stays in this session: not in the link, not on disk.",
        )
    return model or catalogue.DEFAULT_MODEL


@st.fragment
def _hub_search() -> None:
    """Search as you type; a pick becomes the model of the whole app."""
    query = st.text_input(
        "Search Hugging Face",
        type="search",
        live=True,
        max_chars=100,
        placeholder="qwen3 awq",
        key="hub_query",
        persist_state="session",
    )
    if not query or len(query.strip()) < 2:
        st.caption("Type at least two letters.")
        return
    try:
        hits = _search(query.strip(), hub_token(), hub_endpoint())
    except SweetspotError as error:
        st.caption(f":orange[{error}]")
        return
    if not hits:
        st.caption("Nothing found. Check the spelling, or type the full id in the model box.")
    for hit in hits:
        if st.button(hit.name, key=f"pick {hit.name}", type="tertiary", on_click=_pick, args=(hit.name,)):
            st.rerun()


def _pick(name: str) -> None:
    st.session_state["model"] = name


@st.cache_data(ttl=600, max_entries=64, scope="session", show_spinner=False)
def _search(query: str, token: str | None, endpoint: str | None) -> tuple[hub.HubHit, ...]:
    return hub.search(query, token=token, endpoint=endpoint, limit=12)


# -- GPU ------------------------------------------------------------------------------------------


@st.cache_resource(ttl=300, show_spinner=False)
def local_gpus() -> tuple[gpus.LocalGpu, ...]:
    """The GPUs of this machine, looked for again every five minutes."""
    return gpus.detect()


@st.cache_resource(show_spinner=False)
def _listed_gpus() -> list[str]:
    return [gpu.name for gpu in gpus.catalogue()]


def _gpu() -> tuple[str, tuple[int, ...]]:
    local = list(dict.fromkeys(found.spec.name for found in local_gpus()))
    names = [*dict.fromkeys([*local, *keeping.own_gpus(), *_listed_gpus()]), CUSTOM_GPU]
    default = local[0] if local else gpus.DEFAULT_GPU
    gpu = st.selectbox(
        "GPU",
        names,
        index=names.index(default),
        key="gpu",
        bind="query-params",
        accept_new_options=True,
        help=f"{len(names) - 1} accelerators with their sources, or “{CUSTOM_GPU}” to type the figures.",
    )
    if local:
        st.caption(f":material/memory: On this machine: {', '.join(local)}")
    if gpu == CUSTOM_GPU:
        _custom_gpu_inputs()
    count = st.segmented_control(
        "GPUs per replica",
        [ANY_COUNT, *map(str, NAMED_COUNTS)],
        default=ANY_COUNT,
        required=True,
        key="gpus",
        bind="query-params",
        help="Tensor-parallel GPUs that serve one copy of the model. “any” tries 1, 2, 4 and 8.",
    )
    return gpu or default, GPU_COUNTS if count in (None, ANY_COUNT) else (int(count),)


def _custom_gpu_inputs() -> None:
    """Figures of a GPU nobody listed. The core knows their ranges and says so when one is outside."""
    with st.container(border=True):
        left, right = st.columns(2)
        left.number_input("Memory GiB", value=24.0, key="gpu_gib", bind="query-params")
        right.number_input("Memory GB/s", value=1000.0, key="gpu_gbps", bind="query-params")
        left.number_input("FP16 TFLOPS", value=150.0, key="gpu_fp16", bind="query-params", help="Dense peak.")
        right.number_input(
            "FP8 TFLOPS", value=None, key="gpu_fp8", bind="query-params", placeholder="none",
            help="Leave empty when the card has no FP8 tensor cores.",
        )
        left.selectbox(
            "Generation", list(GENERATIONS), key="gpu_cc", bind="query-params",
            help="Compute capability of an NVIDIA card: it decides which formats have kernels.",
        )
        right.number_input(
            "Link GB/s", value=31.5, key="gpu_link", bind="query-params", help="To the next GPU, one way."
        )


def custom_gpu() -> GpuSpec:
    """The GPU typed in. Raises InputError for a figure outside its range."""
    typed = st.session_state
    return gpus.custom(
        CUSTOM_GPU,
        typed.gpu_gib,
        typed.gpu_gbps,
        typed.gpu_fp16,
        fp8_tflops=typed.gpu_fp8,
        compute_capability=GENERATIONS[typed.gpu_cc],
        link_gb_s=typed.gpu_link,
    )


# -- engine, formats, price ------------------------------------------------------------------------


def _price_stays_with(gpu: str) -> None:
    """Own prices are of one GPU: where another was chosen and the price was not, the listed one counts again."""
    before, price = st.session_state.get("priced"), st.session_state.get("price")
    if before is not None and before[0] != gpu and price is not None and price == before[1]:
        st.session_state["price"] = None


def _engine_and_price(gpu: str) -> tuple[str | None, float | None]:
    left, right = st.columns(2)
    engine = left.selectbox(
        "Engine",
        [USUAL, *ENGINES],
        format_func=lambda name: ENGINES[name].label if name in ENGINES else name,
        key="engine",
        bind="query-params",
        help="Which server runs the model: it decides the formats with kernels and the overheads. “usual” is what most "
        "people run on the GPU: llama.cpp on cards for home, vLLM on others.",
    )
    _price_stays_with(gpu)
    price = right.number_input(
        "$ per GPU-hour", float(PRICE.low), float(PRICE.high), None, step=0.1, key="price", bind="query-params",
        placeholder="listed",
        help="Your own price for this GPU; choosing another one empties it. Left empty, the listed price counts, with "
        "its date and source.",
    )
    st.session_state["priced"] = (gpu, price)
    return None if engine in (None, USUAL) else engine, price


def _formats() -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    left, right = st.columns(2)
    weights = left.selectbox(
        "Weights", [BEST, *FORMATS], key="weights", bind="query-params",
        help="“best” tries every format with kernels on this GPU within the quality loss accepted.",
    )
    cache = right.selectbox(
        "KV cache", [BEST, *KV_FORMATS], key="kv", bind="query-params",
        help="“best” tries every format of the KV cache that the engine has on this GPU.",
    )
    return (None if weights in (None, BEST) else (weights,)), (None if cache in (None, BEST) else (cache,))


def deploying(d: Deployment) -> dict[str, object]:
    """The inputs that make a deployment the only one to plan, by key."""
    return {"gpu": d.gpu.name, "gpus": str(d.gpus), "engine": d.engine, "weights": d.weights.name,
            "kv": d.kv_cache.name}


def changed_by(remedy: Remedy) -> dict[str, object]:
    """The inputs that a remedy sets, by key; empty when no input of the sidebar stands for it or goes so far."""
    change: dict[str, Any] = {}
    if (load := remedy.workload) is not None:
        shown = {one: one.shown(getattr(load, one.name)) for one in INPUTS}
        if not all(one.on_pages.holds(value) for one, value in shown.items() if isinstance(value, int | float)):
            return {}
        change |= {one.key: value for one, value in shown.items()}
    if remedy.gpu is not None:
        change["gpu"] = remedy.gpu
    if remedy.gpus is not None and remedy.gpus in NAMED_COUNTS:
        change["gpus"] = str(remedy.gpus)
    if remedy.kv_formats:
        change["kv"] = remedy.kv_formats[0]
    if remedy.engine is not None:
        change["engine"] = remedy.engine
    return change
