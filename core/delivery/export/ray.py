"""Ray Serve LLM: the deployment over the nodes of a Ray cluster."""

import json
from typing import Any, Final

from core.basics.errors import InputError
from core.delivery.export.launch import command
from core.delivery.export.manifests import Manifest, slug, to_yaml
from core.delivery.export.nodes import FIRST_MACHINE
from core.delivery.export.order import Order, batch_limit
from core.products.engines import find as find_engine
from core.products.options import names, ray_accelerator

_APP: Final = "ray.serve.llm:build_openai_app"
_SHARED: Final = "ray.serve.llm:build_dp_openai_app"


def ray_serve(ordered: Order) -> Manifest:
    """A Serve config for the apps of `ray.serve.llm`. Raises InputError for another engine than vLLM.

    Ray 2.60: every replica finds GPUs on as many nodes as it needs; replicas that share experts have an app of
    their own (build_dp_openai_app).
    """
    if "ray-serve" not in find_engine(ordered.engine).around:
        raise InputError("Ray Serve LLM runs vLLM: plan with that engine.")
    servers = ordered.servers
    one = ordered.one_of(servers)
    made = command(one)
    in_flight = batch_limit(one) * one.deployment.dp
    config: dict[str, Any] = {
        "model_loading_config": {"model_id": slug(ordered.spec.name), "model_source": made.model},
        "deployment_config": {
            "autoscaling_config": {
                "min_replicas": servers, "max_replicas": servers, "target_ongoing_requests": in_flight},
            "max_ongoing_requests": 2 * in_flight,
        },
        "engine_kwargs": _engine_kwargs(ordered.engine, made.command[made.command.index(made.model) + 1:]),
    }
    if accelerator := ray_accelerator(ordered.deployment.gpu.name):
        config["accelerator_type"] = accelerator
    notes = tuple(note for note in made.notes if FIRST_MACHINE not in note)      # Ray starts all machines itself
    app, args = (_SHARED, {"llm_config": config}) if ordered.spreads else (_APP, {"llm_configs": [config]})
    application = {"name": slug(ordered.spec.name), "route_prefix": "/", "import_path": app, "args": args}
    return Manifest("Ray Serve", "serve-llm.yaml", "yaml", to_yaml({"applications": [application]}, notes=notes),
                    "serve run serve-llm.yaml", notes)


def _engine_kwargs(engine: str, words: tuple[str, ...]) -> dict[str, object]:
    """Options of the command as keyword arguments of the engine; Ray names the model and finds the machines."""
    known = set(names(engine).values())
    kwargs: dict[str, object] = {}
    option = ""
    for word in words:
        if word in known:
            option = word.removeprefix("--").replace("-", "_")
            kwargs[option] = True
        else:
            kwargs[option] = _value(word)
    for placed_by_ray in ("served_model_name", "nnodes", "node_rank", "master_addr"):
        kwargs.pop(placed_by_ray, None)
    return kwargs


def _value(word: str) -> object:
    """A word as the number or the settings it writes."""
    try:
        return json.loads(word)
    except ValueError:
        return word
