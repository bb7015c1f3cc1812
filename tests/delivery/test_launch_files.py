"""Files that launch a deployment: each read back by its own parser, options held against the engines' documentation."""

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import replace

import pytest
import yaml

from core.answers import compare
from core.answers.advice import recommend
from core.basics.errors import InputError
from core.basics.units import GIB
from core.delivery.export import deliver
from core.delivery.export.checkpoint import is_needed
from core.delivery.export.compose import compose
from core.delivery.export.kubernetes import deployment, kserve, llm_d
from core.delivery.export.launch import command
from core.delivery.export.manifests import slug, weights_gib
from core.delivery.export.ollama import ollama
from core.delivery.export.order import Order, order
from core.delivery.export.ray import ray_serve
from core.delivery.export.verify import benchmarks, guidellm, vllm_bench
from core.products import gpus
from core.products.engines import ENGINES, launched
from core.products.options import image, names, options, ray_accelerator
from core.reading import catalogue
from core.terms import Workload
from tests.conftest import PATIENCE_S

EVIL = ["a/$(touch x)", "a/${HOME}", "a/b; rm -rf ~", "-rf", "a/b\nrm x", "a/`id`", 'a/"b": [c]', "a/b: c #d", "*x &y",
        "a/{{ .Values }}", "a/'b'", "END", "a/\u2028b", "!!python/object:os.system"]


def ordered(engine="vllm", name="meta-llama/Llama-3.1-8B", gpu="H100 SXM5 80GB", **options):
    return order(recommend(catalogue.load(name), gpus.find(gpu), Workload(), engine=engine, **options))


@pytest.fixture(scope="module", params=sorted(launched()))
def each(request):
    runs_here = "NVIDIA" in ENGINES[request.param].vendors
    return ordered(request.param, gpu="H100 SXM5 80GB" if runs_here else "Apple M3 Ultra")


@pytest.fixture(scope="module")
def vllm():
    return ordered()


def layout(name="meta-llama/Llama-3.1-8B", engine="vllm", gpu="H100 SXM5 80GB", **degrees):
    """An order for one split of a model."""
    field = compare.compare(compare.board(catalogue.load(name), [gpus.find(gpu)], [engine]), Workload())
    wanted = {"tp": 1, "pp": 1, "dp": 1, "ep": 1} | degrees
    row = next(n for n, d in enumerate(field.deployments) if all(getattr(d, k) == v for k, v in wanted.items()))
    return Order(field.spec, field.workload, compare.choice_of(field, row))


def hostile(base, name):
    return replace(base, spec=replace(base.spec, name=name))


# -- options ------------------------------------------------------------------------------------------


def test_every_option_is_a_documented_one(each):
    """Words that look like options stand in assets/engine_options.csv, each with its source."""
    known = set(names(each.engine).values())
    words = command(each, {"host": "0.0.0.0", "port": 8000}).command
    assert {word for word in words if word.startswith("--")} <= known


def test_an_undocumented_setting_cannot_be_written():
    with pytest.raises(KeyError):
        options("vllm", {"turbo": 1})


def test_flags_follow_from_the_plan(vllm):
    words = command(vllm).command
    chosen = vllm.choice.footprint.cache.chosen
    said = dict(zip(words[3::2], words[4::2], strict=False))
    assert said["--quantization"] == "fp8_per_tensor" and vllm.deployment.weights.name == "fp8"
    assert said["--max-num-batched-tokens"] == str(chosen.max_num_batched_tokens)
    assert said["--gpu-memory-utilization"] == str(chosen.memory_fraction)
    assert int(said["--max-num-seqs"]) >= vllm.choice.concurrency
    assert int(said["--max-model-len"]) >= vllm.workload.context_tokens


@pytest.mark.parametrize(("degrees", "must"), [
    ({"tp": 2}, ("--tensor-parallel-size", "2")),
    ({"tp": 1, "pp": 2}, ("--pipeline-parallel-size", "2")),
    ({"dp": 2}, ("--data-parallel-size", "2")),
])
def test_the_split_is_part_of_the_command(degrees, must):
    assert must in list(zip(*(command(layout(**degrees)).command[n:] for n in (0, 1)), strict=False))


def test_spread_experts_are_a_switch():
    words = command(layout("openai/gpt-oss-120b", dp=2, ep=2)).command
    assert "--enable-expert-parallel" in words and words[words.index("--data-parallel-size") + 1] == "2"


def test_copies_of_a_server_without_data_parallel_are_started_apart():
    made = layout(engine="trtllm", dp=2)
    assert "--dp" not in " ".join(command(made).command) and "Start 2 of these" in command(made).notes[-1]
    services = yaml.safe_load(compose(made).text)["services"]
    assert [service["ports"] for service in services.values()] == [["8000:8000"], ["8001:8000"]]
    devices = [s["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for s in services.values()]
    assert devices == [["0"], ["1"]]
    sets = {doc["kind"]: doc for doc in yaml.safe_load_all(deployment(made).text)}
    assert sets["Deployment"]["spec"]["replicas"] == 2


# -- parsed back --------------------------------------------------------------------------------------


def test_yaml_reads_back_with_the_command_inside(each):
    made, why_not = deliver.manifests(each)
    assert {manifest.label for manifest in made} | set(why_not) == {"Command", *deliver.MAKERS} | (
        {"Checkpoint"} if is_needed(each) else set())
    for manifest in made:
        if manifest.language == "yaml":
            assert all(isinstance(document, dict) for document in yaml.safe_load_all(manifest.text))
            assert manifest.file.endswith(".yaml") and manifest.use


def test_compose_holds_image_gpus_and_arguments(vllm):
    service = yaml.safe_load(compose(vllm).text)["services"]["llama-3-1-8b"]
    assert service["image"] == image("vllm", "NVIDIA").image and "entrypoint" not in service
    assert service["command"][:1] == ["meta-llama/Llama-3.1-8B"] and service["ports"] == ["8000:8000"]
    assert service["command"][: len(command(vllm).command) - 2] == list(command(vllm).command[2:])
    assert service["environment"] == {"HF_TOKEN": "${HF_TOKEN:-}"}


def test_kubernetes_objects_have_what_their_schemas_require(vllm):
    """Required fields of apps/v1 Deployment, v1 Service (Kubernetes API reference)."""
    found = {document["kind"]: document for document in yaml.safe_load_all(deployment(vllm).text)}
    spec = found["Deployment"]["spec"]
    assert found["Deployment"]["apiVersion"] == "apps/v1"
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    server = spec["template"]["spec"]["containers"][0]
    asked = server["resources"]
    assert asked["limits"] == {"nvidia.com/gpu": str(vllm.deployment.gpus)}
    assert asked["requests"] == asked["limits"] | {"cpu": "3", "memory": "32Gi"}     # one GPU: 2 + 1 cores, 2 x 8 + 16
    assert all(isinstance(word, str) for word in server["args"])
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in server["volumeMounts"]} == volumes
    assert found["Service"]["spec"]["selector"] == spec["selector"]["matchLabels"]
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == server["ports"][0]["containerPort"]


def test_a_pod_goes_where_its_card_is_and_keeps_what_it_loads(vllm):
    """The node label of GPU Feature Discovery: the driver's name, dashes for spaces."""
    found = {document["kind"]: document for document in yaml.safe_load_all(deployment(vllm).text)}
    pod = found["Deployment"]["spec"]["template"]["spec"]
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (rule,) = required["nodeSelectorTerms"][0]["matchExpressions"]
    assert rule["key"] == "nvidia.com/gpu.product" and "NVIDIA-H100-80GB-HBM3" in rule["values"]
    claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"]
              for volume in pod["volumes"] if "persistentVolumeClaim" in volume}
    kept = found["PersistentVolumeClaim"]
    assert claims["cache"] == kept["metadata"]["name"] and kept["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert kept["spec"]["resources"]["requests"]["storage"] == f"{weights_gib(vllm)}Gi"
    server = pod["containers"][0]
    assert server["securityContext"]["allowPrivilegeEscalation"] is False and "livenessProbe" in server
    assert pod["automountServiceAccountToken"] is False


def test_a_large_checkpoint_may_take_longer_to_start(vllm):
    """At a stated 125 MB/s, and 15 minutes for compiling: 18 GiB are 155 s more, 160 GiB 1,375 s."""
    def starts_within_s(one):
        text = deployment(one).text
        server = next(d for d in yaml.safe_load_all(text) if d["kind"] == "Deployment")["spec"]["template"]["spec"]
        probe = server["containers"][0]["startupProbe"]
        return probe["failureThreshold"] * probe["periodSeconds"]

    assert starts_within_s(vllm) == pytest.approx(900 + weights_gib(vllm) * GIB / 125e6, abs=10)
    large = ordered(name="meta-llama/Llama-3.1-70B")
    assert starts_within_s(large) > starts_within_s(vllm) + 400


def test_kserve_names_its_container_and_port(vllm):
    _, document = yaml.safe_load_all(kserve(vllm).text)
    assert document["apiVersion"] == "serving.kserve.io/v1beta1" and document["kind"] == "InferenceService"
    server = document["spec"]["predictor"]["containers"][0]
    assert server["name"] == "kserve-container"
    assert server["args"][server["args"].index("--port") + 1] == str(server["ports"][0]["containerPort"])


def test_llm_d_values_stay_within_the_chart():
    """Keys of llm-d-incubation/llm-d-modelservice charts/llm-d-modelservice/values.yaml @024c0f2d."""
    values = yaml.safe_load(llm_d(layout(dp=4)).text)
    assert set(values) <= {"modelArtifacts", "accelerator", "routing", "decode", "prefill"}
    assert set(values["decode"]["parallelism"]) == {"tensor", "data", "dataLocal", "workers"}
    assert values["decode"]["replicas"] == 4 and values["decode"]["parallelism"]["tensor"] == 1
    assert values["accelerator"]["type"] == "nvidia" and values["prefill"] == {"create": False, "replicas": 0}
    assert values["modelArtifacts"]["uri"] == "hf://meta-llama/Llama-3.1-8B"
    assert values["decode"]["containers"][0]["args"][0] == "meta-llama/Llama-3.1-8B"


def test_ray_passes_the_options_as_arguments_of_the_engine(vllm):
    """Ray docs, ray.serve.llm.LLMConfig."""
    application = yaml.safe_load(ray_serve(vllm).text)["applications"][0]
    config = application["args"]["llm_configs"][0]
    assert application["import_path"] == "ray.serve.llm:build_openai_app"
    assert config["model_loading_config"]["model_source"] == "meta-llama/Llama-3.1-8B"
    assert config["accelerator_type"] == ray_accelerator(vllm.deployment.gpu.name)
    assert config["engine_kwargs"]["tensor_parallel_size"] == 1
    assert config["engine_kwargs"]["gpu_memory_utilization"] == pytest.approx(0.9)
    assert "" not in config["engine_kwargs"]


def test_ray_has_its_own_name_for_a_gpu():
    assert ray_accelerator("H200 SXM 141GB") == "H200" and ray_accelerator("GeForce RTX 4090") is None


def test_a_file_the_command_reads_goes_along():
    made = ordered("trtllm", kv_formats=["fp8"])
    document = yaml.safe_load(compose(made).text)
    service = next(iter(document["services"].values()))
    target = service["configs"][0]["target"]
    assert target in service["command"] and service["entrypoint"] == ["trtllm-serve"]
    settings = yaml.safe_load(next(iter(document["configs"].values()))["content"])
    assert settings["kv_cache_config"] == {"dtype": "fp8", "free_gpu_memory_fraction": pytest.approx(0.9)}
    config = next(doc for doc in yaml.safe_load_all(deployment(made).text) if doc["kind"] == "ConfigMap")
    assert yaml.safe_load(config["data"]["llm-api.yaml"]) == settings


def test_ollama_gets_the_same_file_and_cache():
    text = ollama(ordered("llamacpp")).text
    modelfile = shlex.split(next(line for line in text.splitlines() if line.startswith("printf")))[2:-2]
    assert modelfile[0].startswith("FROM ./Llama-3.1-8B-") and modelfile[1] == "PARAMETER num_ctx 1280"
    assert "OLLAMA_NUM_PARALLEL=" in text


def test_what_cannot_be_made_says_why(vllm):
    _, why_not = deliver.manifests(vllm)
    assert why_not == {"Ollama": "Ollama runs GGUF files with llama.cpp: plan with that engine."}
    _, why_not = deliver.manifests(ordered("llamacpp", gpu="Apple M2 Ultra", name="meta-llama/Llama-3.2-1B"))
    assert "Apple" in why_not["Docker Compose"]
    with pytest.raises(InputError, match="no launch command"):
        command(replace(vllm, choice=replace(
            vllm.choice, deployment=replace(vllm.deployment, engine="exllama"))))


def test_amd_gets_its_own_image_devices_and_plugin():
    made = ordered(gpu="MI300X")
    service = next(iter(yaml.safe_load(compose(made).text)["services"].values()))
    assert service["devices"] == ["/dev/kfd", "/dev/dri"] and "rocm" in service["image"]
    _, server, _ = yaml.safe_load_all(deployment(made).text)
    pod = server["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"amd.com/gpu": "1"}
    assert "affinity" not in pod and "add a nodeSelector" in deployment(made).text      # no label we know of


# -- hostile names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("evil", EVIL)
def test_a_hostile_name_stays_a_value(vllm, evil):
    bad = hostile(vllm, evil)
    plain = f"./{evil}" if evil.startswith("-") else evil
    words = shlex.split(vllm_bench(bad).command)
    assert words[words.index("--model") + 1] == plain
    assert len(shlex.split(guidellm(bad).command)) == len(shlex.split(guidellm(vllm).command))
    service, tame = (next(iter(yaml.safe_load(compose(o).text)["services"].values())) for o in (bad, vllm))
    assert len(service["command"]) == len(tame["command"])
    assert not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", "".join(service["command"])), "compose would look for a variable"
    for document in yaml.safe_load_all(deployment(bad).text):
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", document["metadata"]["name"])
    config = yaml.safe_load(ray_serve(bad).text)["applications"][0]["args"]["llm_configs"][0]
    assert config["model_loading_config"]["model_source"] == plain


@pytest.mark.parametrize("evil", EVIL)
def test_a_hostile_name_of_a_checkpoint_to_be_made(evil):
    bad = hostile(ordered(formats=["w8a8-int8"]), evil)
    made, _ = deliver.manifests(bad)
    script = next(manifest for manifest in made if manifest.label == "Command").text
    assert tuple(shlex.split(script.partition("set -eu")[2], comments=True)) == command(bad).command


def test_kubernetes_expands_nothing_in_arguments(vllm):
    """Kubernetes API, Container.args: $(VAR) is expanded, $$(VAR) is not."""
    _, document, _ = yaml.safe_load_all(deployment(hostile(vllm, "a/$(HF_TOKEN)")).text)
    assert document["spec"]["template"]["spec"]["containers"][0]["args"][0] == "a/$$(HF_TOKEN)"


def test_a_name_that_helm_would_run_is_refused(vllm):
    with pytest.raises(InputError, match="rename"):
        llm_d(hostile(vllm, "a/{{ .Values }}"))


@pytest.mark.parametrize(("name", "label"), [
    ("Qwen/Qwen3-32B", "qwen3-32b"), ("a/---", "llm"), ("9b", "llm-9b"), ("x/" + "y" * 90, "y" * 50), ("", "llm"),
])
def test_names_of_services_are_dns_labels(name, label):
    assert slug(name) == label


# -- shells -------------------------------------------------------------------------------------------


def scripts(base):
    made, _ = deliver.manifests(base)
    return [manifest.text for manifest in made if manifest.language == "bash"] + [
        f"#!/bin/sh\n{line}\n" for line in (one.command for one in benchmarks(base))
    ]


@pytest.mark.parametrize("evil", [None, "a/$(touch x)", "a/b\nrm x", "a/'b'"])
def test_every_shell_reads_them_and_shellcheck_finds_nothing(each, evil, tmp_path):
    base = each if evil is None else hostile(each, evil)
    for number, text in enumerate(scripts(base)):
        file = tmp_path / f"{number}.sh"
        file.write_text(text)
        subprocess.run(["sh", "-n", str(file)], check=True, timeout=PATIENCE_S)
        if checker := shutil.which("shellcheck"):
            # SC2016: an expression in single quotes does not expand, which is the point.
            done = subprocess.run([checker, "-e", "SC2016", str(file)], capture_output=True, text=True,
                                  timeout=PATIENCE_S)
            assert done.returncode == 0, done.stdout


def test_a_script_runs_and_hands_over_the_words_as_they_are(vllm, tmp_path):
    """A stand-in for the engine writes down what it was called with."""
    fake = tmp_path / "vllm"
    fake.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done > "$OUT"\n')
    fake.chmod(0o755)
    bad = hostile(vllm, "a/$(touch pwned) `touch pwned` ' \" \\ *")
    text = next(manifest for manifest in deliver.manifests(bad)[0] if manifest.label == "Command").text
    out = tmp_path / "words"
    subprocess.run(["sh", "-c", text], check=True, cwd=tmp_path, timeout=PATIENCE_S,
                   env={"PATH": f"{tmp_path}:/usr/bin:/bin", "OUT": str(out)})
    assert tuple(out.read_text().split("\0")[:-1]) == command(bad).command[1:]
    assert not (tmp_path / "pwned").exists()


def test_manifests_are_small_enough_to_read(vllm):
    assert all(len(manifest.text) < 10_000 for manifest in deliver.manifests(vllm)[0])
    assert json.dumps([manifest.text for manifest in deliver.manifests(vllm)[0]])
