"""Ray Serve LLM: the deployment over the nodes of a Ray cluster."""

from typing import Any

from core.errors import InputError
from core.export.launch import Order, command
from core.export.manifests import Manifest, replicas, slug, to_yaml
from core.export.options import names, ray_accelerator


def ray_serve(ordered: Order) -> Manifest:
    """A Serve config for `ray.serve.llm:build_openai_app`. Raises InputError for another engine than vLLM."""
    if ordered.engine != "vllm":
        raise InputError("Ray Serve LLM runs vLLM: plan with that engine.")
    servers = replicas(ordered)
    one = ordered.one_of(servers)
    made = command(one)
    config: dict[str, Any] = {
        "model_loading_config": {"model_id": slug(ordered.spec.name), "model_source": made.command[2]},
        "deployment_config": {"autoscaling_config": {"min_replicas": servers, "max_replicas": servers}},
        "engine_kwargs": _engine_kwargs(made.command[3:]),
    }
    if accelerator := ray_accelerator(ordered.deployment.gpu.name):
        config["accelerator_type"] = accelerator
    application = {
        "name": slug(ordered.spec.name), "route_prefix": "/", "import_path": "ray.serve.llm:build_openai_app",
        "args": {"llm_configs": [config]},
    }
    return Manifest("Ray Serve", "serve-llm.yaml", "yaml", to_yaml({"applications": [application]}, notes=made.notes),
                    "serve run serve-llm.yaml", made.notes)


def _engine_kwargs(words: tuple[str, ...]) -> dict[str, object]:
    """Options of the command as keyword arguments of the engine, which bear the same names."""
    known = set(names("vllm").values())
    kwargs: dict[str, object] = {}
    option = ""
    for word in words:
        if word in known:
            option = word.removeprefix("--").replace("-", "_")
            kwargs[option] = True
        else:
            kwargs[option] = _number(word)
    return kwargs


def _number(word: str) -> object:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
