"""Files for a cluster against the schemas of those who read them, over engines, vendors, splits and options."""

import json
import re
from dataclasses import replace

import jsonschema
import pytest
import yaml

from core.answers import compare
from core.answers.advice import recommend
from core.answers.traffic import Options, Speculation, replica
from core.basics.errors import InputError
from core.basics.places import ROOT
from core.delivery.export import deliver
from core.delivery.export.checkpoint import is_needed
from core.delivery.export.kubernetes import deployment, kserve, llm_d
from core.delivery.export.launch import TRTLLM_CONFIG, command
from core.delivery.export.order import Order, as_launched, batch_limit, order
from core.delivery.export.ray import ray_serve
from core.products import gpus
from core.products.drafters import Drafter
from core.products.engines import ENGINES, launched, loads
from core.products.formats import FORMATS, find
from core.products.options import names
from core.reading import catalogue
from core.terms import Workload

HERE = ROOT / "tests"
LLM_D = json.loads((HERE / "data" / "llm_d_values.schema.json").read_text())
# What KServe 0.21 adds to a pod's own fields in a predictor (kserve/models/v1beta1_predictor_spec.py).
PREDICTOR = {"minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "containerConcurrency", "timeout", "model"}
# Fields of ray.llm LLMConfig, Ray 2.60 (ray/llm/_internal/serve/core/configs/llm_config.py); unknown ones are refused.
LLM_CONFIG = {"model_loading_config", "engine_kwargs", "accelerator_type", "deployment_config"}
EVERYTHING = Options(
    chunk_tokens=4096, prefix_reuse=0.3, offload=True, speculation=Speculation(0.7, 3))


def planned(engine="vllm", name="meta-llama/Llama-3.1-8B", gpu="H100 SXM5 80GB", **options):
    load = Workload(quality_loss=0.2)      # formats asked for are taken whatever they lose
    return order(recommend(catalogue.load(name), gpus.find(gpu), load, engine=engine, **options))


def split(engine, name="Qwen/Qwen3-30B-A3B", gpu="H100 SXM5 80GB", **degrees):
    field = compare.compare(compare.board(catalogue.load(name), [gpus.find(gpu)], [engine]), Workload())
    wanted = {"tp": 1, "pp": 1, "dp": 1, "ep": 1} | degrees
    row = next(n for n, d in enumerate(field.deployments) if all(getattr(d, k) == v for k, v in wanted.items()))
    return Order(field.spec, field.workload, compare.choice_of(field, row))


def over_two_machines(ordered):
    choice = replace(ordered.choice, deployment=replace(ordered.deployment, nodes=2))
    return replace(ordered, choice=choice)


def drafting(ordered, way):
    choice = replace(ordered.choice, deployment=replace(ordered.deployment, drafter=way))
    return replace(ordered, choice=choice)


@pytest.fixture(scope="module")
def orders():
    made = {
        "plain": planned(formats=["fp8"]), "sglang": planned("sglang"), "trtllm": planned("trtllm"),
        "llamacpp": planned("llamacpp", kv_formats=["bf16"]), "amd": planned(gpu="MI300X"),
        "mlx": planned("mlx", gpu="Apple M3 Ultra"),
        "own checkpoint": planned(formats=["w8a8-int8"]),
        "experts": split("vllm", dp=2, ep=2),
    }
    made["fleet"] = replace(made["plain"], times=12)
    return made | {
        f"{engine} with everything": drafting(replace(made[name], options=EVERYTHING), Drafter.EAGLE3)
        for engine, name in (("vllm", "plain"), ("sglang", "sglang"), ("trtllm", "trtllm"))
    } | {
        f"{engine} with a drafter": drafting(replace(made[engine], options=EVERYTHING), way)
        for engine, way in (("llamacpp", Drafter.DRAFT), ("mlx", Drafter.DRAFT), ("trtllm", Drafter.MTP))
    } | {"llamacpp with a host": order(recommend(
        catalogue.load("Qwen/Qwen3-30B-A3B"), gpus.find("GeForce RTX 3060 12GB"),
        Workload(concurrency=1, quality_loss=0.2, cpu_bandwidth_gb_per_s=89.6), engine="llamacpp", tps=[1],
        formats=["gguf-Q4_K_M"]))} | {
        f"{engine} with images and adapters": order(recommend(
            catalogue.load("Qwen/Qwen2.5-VL-7B-Instruct"), gpus.find("H100 SXM5 80GB"),
            Workload(images=2, loras=4, lora_rank=24, lora_targets=2), engine=engine, tps=[1], formats=["bf16"]))
        for engine in ("vllm", "sglang", "trtllm", "llamacpp")}


def documents(orders, make):
    """Every document that can be made, by the order's name."""
    for name, ordered in orders.items():
        try:
            made = make(ordered)
        except InputError:
            continue
        yield from ((name, document) for document in yaml.safe_load_all(made.text))


def test_kubernetes_takes_every_object(orders):
    """Strictly: a field that Kubernetes 1.33 does not know is refused (its published OpenAPI schemas)."""
    validate = pytest.importorskip("kubernetes_validate").validate
    found = list(documents(orders, deployment))
    assert len(found) > 2 * len(orders) - 2
    for _, document in found:
        validate(document, "1.33", strict=True)


def test_kserve_is_a_pod_with_a_few_fields_more(orders):
    validate = pytest.importorskip("kubernetes_validate").validate
    services = [d for _, d in documents(orders, kserve) if d["kind"] == "InferenceService"]
    assert len(services) > len(orders) - 3          # MLX has no container
    for service in services:
        predictor = service["spec"]["predictor"]
        pod = {key: value for key, value in predictor.items() if key not in PREDICTOR}
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}, "1.33", strict=True)
        assert predictor["minReplicas"] <= predictor["maxReplicas"]
        assert service["metadata"].keys() == {"name", "annotations"}


def test_llm_d_takes_the_values(orders):
    found = list(documents(orders, llm_d))
    assert len(found) >= 5
    for _, values in found:
        jsonschema.validate(values, LLM_D)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found[0][1] | {"replicas": 2}, LLM_D)


def test_ray_knows_every_field(orders):
    for name, document in documents(orders, ray_serve):
        application = document["applications"][0]
        assert set(application) == {"name", "route_prefix", "import_path", "args"}
        shared = name == "experts"
        config = application["args"]["llm_config"] if shared else application["args"]["llm_configs"][0]
        assert application["import_path"].endswith("build_dp_openai_app" if shared else "build_openai_app")
        assert set(config) <= LLM_CONFIG
        scaling = config["deployment_config"]["autoscaling_config"]
        assert scaling["min_replicas"] == scaling["max_replicas"] == (12 if name == "fleet" else 1)


def test_ray_gets_settings_not_their_text(orders):
    document = yaml.safe_load(ray_serve(orders["vllm with everything"]).text)
    kwargs = document["applications"][0]["args"]["llm_configs"][0]["engine_kwargs"]
    assert kwargs["speculative_config"] == {
        "method": "eagle3", "num_speculative_tokens": 3, "model": "RedHatAI/Llama-3.1-8B-Instruct-speculator.eagle3"}
    assert kwargs["enable_prefix_caching"] is True and kwargs["kv_offloading_size"] > 100


# -- options by version -------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", sorted(launched()))
def test_every_documented_option_is_used_somewhere(engine, orders):
    """A row that nothing writes is a row that nobody checked."""
    made = [orders[name] for name in orders if orders[name].engine == engine]
    made += [split(engine, dp=2, ep=2), split(engine, tp=2, ep=2)] if engine in ("vllm", "sglang", "trtllm") else []
    made += [split(engine, name="meta-llama/Llama-3.1-8B", dp=2)] if engine in ("vllm", "sglang") else []
    made += [over_two_machines(one) for one in made if one.deployment.gpus == 2 and engine in ("vllm", "sglang")]
    text = "\n".join(" ".join(command(one).command) + "\n".join(command(one).files.values()) for one in made)
    missing = {option for option in names(engine).values() if option.rpartition(".")[2] not in text}
    assert missing <= {
        "--pipeline-parallel-size", "--pp-size", "--pp_size", "--dtype",
        "--kv-cache-dtype", "--host", "--port", "--split-mode", "--cache-type-k", "--cache-type-v", "--batch-size",
        "--cache-ram", "--data-parallel-size", "--served-model-name", "--load-format", "load_format",
    }


def test_the_file_of_tensorrt_llm_holds_documented_settings_only(orders):
    known = set(names("trtllm").values())
    for one in (orders["trtllm"], orders["trtllm with everything"], split("trtllm", dp=2, ep=2)):
        settings = yaml.safe_load(command(one).files[TRTLLM_CONFIG])
        flat = {f"{section}.{key}" for section, value in settings.items() if isinstance(value, dict) for key in value}
        flat |= {section for section, value in settings.items() if not isinstance(value, dict)}
        assert flat <= known
        assert settings["kv_cache_config"]["free_gpu_memory_fraction"] == pytest.approx(0.9)
        assert settings["enable_chunked_prefill"] is True


# -- flags that an engine would refuse, or read otherwise ----------------------------------------------


def said(ordered):
    words = command(ordered).command
    return {word: words[n + 1] if n + 1 < len(words) else "" for n, word in enumerate(words) if word.startswith("--")}


def test_vllm_names_its_online_quantization_by_its_scales(orders):
    """vLLM 0.33, layers/quantization/fp8.py: `fp8` on a 16-bit checkpoint raises and names fp8_per_tensor."""
    assert said(orders["plain"])["--quantization"] == "fp8_per_tensor"
    assert "--quantization" not in said(planned(name="Qwen/Qwen3-8B-FP8"))
    assert "--quantization" not in said(orders["own checkpoint"])


def test_vllm_no_longer_loads_bitsandbytes():
    """No bitsandbytes among QuantizationMethods of vLLM 0.33 (layers/quantization/__init__.py)."""
    base = planned()
    weights = planned(formats=["bf16"]).deployment.weights
    made = replace(base, choice=replace(base.choice, deployment=replace(
        base.deployment, weights=replace(weights, name="bnb-nf4", bits_per_weight=4.5))))
    with pytest.raises(InputError, match="no longer loads bitsandbytes"):
        command(made)


def test_sglang_shares_experts_by_attention_of_replicas():
    """SGLang 0.5.23 arg_groups: tp counts all GPUs, and chunk and requests are those of all replicas."""
    made = split("sglang", dp=4, ep=4)
    flags = said(made)
    assert (flags["--tp-size"], flags["--attn-dp-size"], flags["--ep-size"]) == ("4", "4", "4")
    assert "--dp-size" not in flags, "counts whole replicas"
    assert int(flags["--max-running-requests"]) >= made.choice.concurrency
    assert "--attn-dp-size" not in said(split("sglang", name="meta-llama/Llama-3.1-8B", dp=2))


def test_nothing_is_planned_that_tensorrt_llms_server_does_not_load():
    with pytest.raises(InputError, match="TensorRT-LLM does not load INT8 W8A8 weights"):
        command(planned("trtllm", gpu="A100 SXM4 80GB", formats=["w8a8-int8"]))


def test_sglang_makes_bitsandbytes_weights_while_loading():
    flags = said(planned("sglang", gpu="A100 SXM4 80GB", formats=["bnb-nf4"]))
    assert flags["--quantization"] == flags["--load-format"] == "bitsandbytes"
    assert flags["--model-path"] == "meta-llama/Llama-3.1-8B"


def test_tensorrt_llm_shares_experts_by_attention_of_replicas():
    made = split("trtllm", dp=4, ep=4)
    assert (said(made)["--tp_size"], said(made)["--ep_size"]) == ("4", "4")
    assert yaml.safe_load(command(made).files[TRTLLM_CONFIG])["enable_attention_dp"] is True
    assert made.servers == 1
    with pytest.raises(InputError, match="one GPU each"):
        command(split("trtllm", tp=2, dp=2))


def test_llamacpp_keeps_a_16_bit_cache_in_its_default_type(orders):
    flags = said(orders["llamacpp"])
    assert "--cache-type-k" not in flags and flags["--ubatch-size"] == "512"
    assert flags["--alias"] == "meta-llama/Llama-3.1-8B"


def test_a_checkpoint_of_ones_own_answers_to_the_models_name(orders):
    flags = said(orders["own checkpoint"])
    assert flags["--served-model-name"] == "meta-llama/Llama-3.1-8B"
    assert "--served-model-name" not in said(orders["plain"])


def test_options_of_the_engine_are_part_of_the_command(orders):
    flags = said(orders["vllm with everything"])
    assert flags["--max-num-batched-tokens"] == "4096" and "--enable-prefix-caching" in flags
    assert json.loads(flags["--speculative-config"]) == {
        "method": "eagle3", "num_speculative_tokens": 3, "model": "RedHatAI/Llama-3.1-8B-Instruct-speculator.eagle3"}
    flags = said(orders["sglang with everything"])
    assert (flags["--speculative-algorithm"], flags["--speculative-num-draft-tokens"]) == ("EAGLE3", "4")
    assert "--enable-hierarchical-cache" in flags
    settings = yaml.safe_load(command(orders["trtllm with everything"]).files[TRTLLM_CONFIG])
    assert settings["speculative_config"]["decoding_type"] == "Eagle" and settings["kv_cache_config"]["host_cache_size"]


def test_a_drafter_has_a_name_or_the_kind_that_is_needed_is_said(orders):
    assert said(orders["mlx with a drafter"])["--draft-model"] == "meta-llama/Llama-3.2-1B-Instruct"
    assert "Llama-3.2-1B-Instruct.gguf holds meta-llama/Llama-3.2-1B" in " ".join(
        command(orders["llamacpp with a drafter"]).notes)
    unknown = planned(name="mistralai/Mistral-7B-v0.3")
    made = command(drafting(replace(unknown, options=EVERYTHING), Drafter.EAGLE3))
    assert "--speculative-config" not in made.command
    assert any("it needs an EAGLE-3 head trained for this model" in note for note in made.notes)


def test_a_fleet_is_so_many_servers(orders):
    objects = {d["kind"]: d for name, d in documents(orders, deployment) if name == "fleet"}
    assert objects["Deployment"]["spec"]["replicas"] == 12
    made, why_not = deliver.manifests(orders["fleet"])
    assert "one machine, with up to 8" in why_not["Docker Compose"]
    assert "12 of these" in next(m for m in made if m.label == "Command").notes[-1]
    assert said(orders["fleet"]) == said(orders["plain"])


def test_a_replica_larger_than_a_machine_is_a_leader_with_workers():
    """LeaderWorkerSet v1: one pod a machine, eight GPUs each; the group's own variables say who is who."""
    validate = pytest.importorskip("kubernetes_validate").validate
    made = planned(name="meta-llama/Llama-3.1-405B", gpu="A100 SXM4 80GB", tps=[16], formats=["bf16"])
    assert said(made)["--nnodes"] == "2" and said(made)["--master-addr"] == "first-machine"
    assert "on the second with --node-rank 1 and --headless" in " ".join(command(made).notes)
    files, why_not = deliver.manifests(made)
    assert "use a LeaderWorkerSet or Ray Serve" in why_not["Kubernetes"]
    text = next(file.text for file in files if file.label == "LeaderWorkerSet")
    group = next(d for d in yaml.safe_load_all(text) if d["kind"] == "LeaderWorkerSet")["spec"]
    template = group["leaderWorkerTemplate"]
    assert (group["replicas"], template["size"]) == (1, 2)
    for part, headless in (("leaderTemplate", False), ("workerTemplate", True)):
        pod = template[part]["spec"]
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}, "1.33", strict=True)
        (server,) = pod["containers"]
        assert server["resources"]["limits"] == {"nvidia.com/gpu": "8"}
        assert server["args"][server["args"].index("--node-rank") + 1] == "$(LWS_WORKER_INDEX)"
        assert server["args"][server["args"].index("--master-addr") + 1] == "$(LWS_LEADER_ADDRESS)"
        assert ("--headless" in server["args"], "readinessProbe" in server) == (headless, not headless)
    kwargs = yaml.safe_load(ray_serve(made).text)["applications"][0]["args"]["llm_configs"][0]["engine_kwargs"]
    assert not {"nnodes", "node_rank", "master_addr"} & set(kwargs)


# -- checkpoints --------------------------------------------------------------------------------------


def checkpoint(ordered):
    made, why_not = deliver.manifests(ordered)
    return next((one for one in made if one.label == "Checkpoint"), why_not.get("Checkpoint"))


def test_nothing_is_made_of_what_is_loaded_as_it_is(orders):
    assert checkpoint(orders["plain"]) is None
    assert checkpoint(planned(name="Qwen/Qwen3-8B-FP8")) is None


@pytest.mark.parametrize(("fmt", "scheme"), [
    ("w8a8-int8", "W8A8"), ("awq-int4", "W4A16_ASYM"), ("gptq-int4", "W4A16"), ("int8", "W8A16"),
])
def test_a_recipe_makes_the_weights_that_are_missing(fmt, scheme):
    """Presets of compressed-tensors 0.19, quant_scheme.py; modifiers of llm-compressor 0.14."""
    made = checkpoint(planned(formats=[fmt]))
    compile(made.text, "quantize.py", "exec")
    assert f'"{scheme}"' in made.text and "./Llama-3.1-8B-" in made.text and "open_platypus" in made.text


def test_ready_checkpoints_of_the_catalogue_are_named():
    made = planned(name="Qwen/Qwen3-32B", formats=["awq-int4"])
    assert "Qwen/Qwen3-32B-AWQ" in checkpoint(made).notes[0]
    assert "Qwen/Qwen3-32B-AWQ" in command(made).notes[0]
    nvidia = checkpoint(planned("trtllm", name="meta-llama/Llama-3.3-70B-Instruct", formats=["fp8"])).notes[0]
    assert nvidia.startswith("Ready ones, not verified on the Hub: nvidia/Llama-3.3-70B-Instruct-FP8")
    assert not checkpoint(planned(formats=["w8a8-int8"])).notes, "Llama-3.1-8B-Instruct is another model"


@pytest.mark.parametrize("engine", launched())
def test_no_command_names_a_script_that_is_not_written(engine):
    """Every format an engine loads, a family's members too: a script is named where one is made, and only there."""
    base = planned(engine, gpu="H100 SXM5 80GB" if "NVIDIA" in ENGINES[engine].vendors else "Apple M3 Ultra")
    members = ("int4-g64", "gptq-int3", "awq-int8", "autoround-int4", "w4afp8", "gguf-UD-Q4_K_XL", "gguf-IQ2_XXS",
               "gguf-Q6_K_L", "mlx-4bit", "mlx-6bit")
    loaded = [find(name) for name in (*FORMATS, *members) if loads(ENGINES[engine].formats, find(name).name)]
    named = set()
    for fmt in loaded:
        ordered = replace(base, choice=replace(base.choice, deployment=replace(base.deployment, weights=fmt)))
        made, why_not = deliver.manifests(ordered)
        written = {one.file for one in made}
        for one in made:
            said = set(re.findall(r"quantize\.\w+", " ".join(one.notes)))
            assert said <= written, (fmt.name, one.label)
        named |= {fmt.name} if written & {"quantize.py", "quantize.sh"} else set()
        assert ("Checkpoint" in why_not) == (is_needed(ordered) and fmt.name not in named)
    assert named or engine == "mlx"


@pytest.mark.parametrize(("engine", "formats", "words"), [
    ("trtllm", ["fp8"], "--qformat fp8"), ("vllm", ["mxfp6"], "--quant_scheme mxfp6_e3m2"),
    ("llamacpp", ["gguf-Q4_K_M"], "llama-quantize model.gguf"),
    ("llamacpp", ["fp16"], "--outtype f16"),
])
def test_other_engines_have_their_own_tools(engine, formats, words):
    made = checkpoint(planned(engine, formats=formats))
    assert words in made.text and made.language == "bash"


@pytest.mark.parametrize("evil", ["a'); import os  #", 'a"""\nimport os', "a\\", "-rf", "a/$(touch x)"])
def test_a_hostile_name_stays_text_in_a_recipe(evil):
    for engine, formats in (("vllm", ["w8a8-int8"]), ("trtllm", ["fp8"]), ("llamacpp", ["gguf-Q4_K_M"])):
        base = planned(engine, formats=formats)
        made = checkpoint(replace(base, spec=replace(base.spec, name=evil)))
        if made.language == "python":
            tree = compile(made.text, "quantize.py", "exec")
            assert "os" not in tree.co_names and evil in tree.co_consts


@pytest.mark.parametrize(("engine", "gpu", "seats"), [
    ("vllm", "L4", "256"), ("llamacpp", "H100 SXM5 80GB", None), ("trtllm", "H100 SXM5 80GB", "2048"),
])
def test_what_is_simulated_is_what_the_command_starts(engine, gpu, seats):
    """The scheduler of the traffic simulation and the command have the same limits."""
    made = as_launched(planned(engine, gpu=gpu))
    limits = replica(made.spec, made.deployment, Options()).limits
    flags = said(made)
    batch, step = {"vllm": ("--max-num-seqs", "--max-num-batched-tokens"), "llamacpp": ("--parallel", "--ubatch-size"),
                   "trtllm": ("--max_batch_size", "--max_num_tokens")}[engine]
    assert (flags[batch], flags[step]) == (str(limits.max_num_seqs), str(limits.max_num_batched_tokens))
    assert flags[batch] == (seats or str(batch_limit(planned(engine, gpu=gpu)))) and int(flags[batch]) > 1
