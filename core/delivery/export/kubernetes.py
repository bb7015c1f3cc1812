"""Kubernetes: a Deployment with its Service, a KServe InferenceService, values for llm-d."""

from typing import Any, Final

from core.basics.errors import InputError
from core.delivery.export.launch import PORT, command
from core.delivery.export.manifests import Container, Manifest, container, slug, to_yaml, weights_gib
from core.delivery.export.order import Order
from core.delivery.export.pod import DOWNLOAD_BYTES_PER_S, SECRET, affinity, argument, asked_of_a_node, claim, pod
from core.products.engines import find as find_engine
from core.products.options import image

KSERVE_PORT: Final = 8080            # KServe's port of a custom container
# A plain Deployment; KServe 0.16 calls it Standard and still takes this name (kserve pkg/constants/constants.go).
_KSERVE_MODE: Final = "RawDeployment"
_LLM_D_CHART: Final = "v0.4.0"
_LLM_D: Final = {"NVIDIA": "nvidia", "AMD": "amd", "Intel": "intel-xe"}


def deployment(ordered: Order) -> Manifest:
    """apps/v1 Deployment and Service. Raises InputError where no container or device plugin is known."""
    servers, name = ordered.servers, slug(ordered.spec.name)
    one = ordered.one_of(servers)
    made = container(one, PORT)
    labels = {"app": name}
    documents: list[dict[str, Any]] = [*configs(name, made), claim(one, name, servers), {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": servers, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod(one, made, name, PORT)},
        },
    }, service(name, labels)]
    notes = notes_of(one, made, servers)
    return Manifest("Kubernetes", "deployment.yaml", "yaml", to_yaml(*documents, notes=notes),
                    "kubectl apply -f deployment.yaml", notes)


def kserve(ordered: Order) -> Manifest:
    """serving.kserve.io/v1beta1 InferenceService with the engine's own container."""
    servers, name = ordered.servers, slug(ordered.spec.name)
    one = ordered.one_of(servers)
    made = container(one, KSERVE_PORT)
    service = {
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
        "metadata": {"name": name, "annotations": {"serving.kserve.io/deploymentMode": _KSERVE_MODE}},
        "spec": {"predictor": {
            "minReplicas": servers, "maxReplicas": servers,
            **pod(one, made, name, KSERVE_PORT, container_name="kserve-container"),
        }},
    }
    documents = (*configs(name, made), claim(one, name, servers), service)
    notes = notes_of(one, made, servers)
    return Manifest("KServe", "inferenceservice.yaml", "yaml", to_yaml(*documents, notes=notes),
                    "kubectl apply -f inferenceservice.yaml", notes)


def llm_d(ordered: Order) -> Manifest:
    """Values for the chart llm-d-modelservice: decode servers alone, prefill not split off.

    Raises InputError for another engine than the chart's, or a name its templates would act on.
    """
    d = ordered.deployment
    found = image(d.engine, d.gpu.vendor)
    if "llm-d" not in find_engine(d.engine).around or found is None or d.gpu.vendor not in _LLM_D:
        raise InputError("llm-d runs vLLM on NVIDIA and AMD GPUs: plan with that engine.")
    servers = ordered.servers
    one = ordered.one_of(servers)
    made = command(one, {"port": PORT})
    model = made.model
    if "{{" in model:
        raise InputError("This model's name holds {{, which Helm would take for a template: rename it.")
    own = model.startswith("./")
    args = [argument(word) for word in made.command[2:]]
    if own:
        args[0] = f"/model-cache/{model.removeprefix('./')}"
    values = {
        "modelArtifacts": {
            "name": ordered.spec.name, "uri": f"pvc://models/{model.removeprefix('./')}" if own else f"hf://{model}",
            "size": f"{weights_gib(ordered)}Gi", "authSecretName": SECRET,
            "labels": {"llm-d.ai/inferenceServing": "true", "llm-d.ai/model": slug(ordered.spec.name)},
        },
        "accelerator": {"type": _LLM_D[d.gpu.vendor]},
        "routing": {"servicePort": PORT, "proxy": {"enabled": False}},
        "decode": {
            "create": True, "replicas": servers,
            "parallelism": {"tensor": one.deployment.gpus, "data": 1, "dataLocal": 1, "workers": 1},
            "containers": [{
                "name": d.engine, "image": found.image, "modelCommand": "custom", "command": list(made.command[:2]),
                "args": args,
                "ports": [{"containerPort": PORT, "name": "metrics", "protocol": "TCP"}], "mountModelVolume": True,
                "resources": {"limits": asked_of_a_node(one)["limits"]},
            }],
        },
        "prefill": {"create": False, "replicas": 0},
    }
    notes = (*made.notes, *_secret_note())
    return Manifest(
        "llm-d", "llm-d-values.yaml", "yaml", to_yaml(values, notes=notes),
        f"helm upgrade --install llm llm-d-modelservice --version {_LLM_D_CHART} "
        "--repo https://llm-d-incubation.github.io/llm-d-modelservice/ -f llm-d-values.yaml", notes,
    )


def service(name: str, labels: dict[str, str]) -> dict[str, Any]:
    """The Service before the pods that bear these labels."""
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": PORT, "targetPort": PORT}]}}


def configs(name: str, made: Container) -> list[dict[str, Any]]:
    """The files that a command reads, as a ConfigMap."""
    if not made.launch.files:
        return []
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-config"},
             "data": dict(made.launch.files)}]


def notes_of(one: Order, made: Container, pods: int) -> tuple[str, ...]:
    """What a person has to know or to do before it is applied."""
    rate = f"{DOWNLOAD_BYTES_PER_S / 1e6:,.0f} MB/s"
    notes = [*made.launch.notes, *_claim_note(made), *_secret_note(),
             f"The first start may take as long as a download at {rate} and 15 minutes."]
    if pods > 1:
        notes.append("The claim for weights is shared: it needs a storage class that many nodes can write to.")
    if not affinity(one):
        notes.append(f"No node label for {one.deployment.gpu.name} is known: add a nodeSelector where others exist.")
    return tuple(notes)


def _claim_note(made: Container) -> tuple[str, ...]:
    if not made.own_checkpoint:
        return ()
    return ("The checkpoint is read from a volume claim named models.",)


def _secret_note() -> tuple[str, ...]:
    return (f"A gated model needs a secret: kubectl create secret generic {SECRET} --from-literal=HF_TOKEN=...",)
