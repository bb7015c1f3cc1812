"""Any causal language model that transformers loads: from the Hub, a folder or a GGUF file.

Safetensors and GGUF only, code of a repository never: pickled weights and `auto_map` modules run whatever
their author wrote.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.basics.errors import HubUnreachable, ModelError, ModelNotFound, QualityError
from core.basics.settings import is_public
from core.machinery.worker import ran_out_of_memory
from core.quality.gguf_tokenizer import sentencepiece
from core.reading.hub import local
from core.reading.hub.client import refusal
from core.reading.hub.files import gguf_files

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from core.quality.order import Order

_WANTED: Final = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")
# Share of words that come out whole where a vocabulary is read right: 912 of 912 of SmolLM2's, 683 of 683 of Gemma-3's;
# read as a unigram vocabulary 150 of them.
MOST_WORDS: Final = 0.9
_ID: Final = re.compile(r"([\w.-]+/[\w.-]+?)(?::([\w.-]+)|/(.+\.gguf))?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model's files lie on this machine."""

    name: str
    folder: Path
    gguf: str = ""                  # the file; empty: safetensors
    revision: str = ""              # commit on the Hub

    @property
    def weights_bytes(self) -> int:
        """What its weights take on disk."""
        files = [self.folder / self.gguf] if self.gguf else self.folder.glob("*.safetensors")
        return sum(file.stat().st_size for file in files)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in full precision, and what reads and writes its tokens."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: Source
    context: int | None             # most tokens it reads
    stored: torch.dtype             # of the checkpoint; a GGUF's values need 32 bits


def located(order: Order) -> Source:
    """The model's files, fetched from the Hub where they are not on this machine.

    Raises ModelError or HubError in one sentence.
    """
    if local.names_a_path(order.model) or (not is_public() and local.exists(order.model)):
        if is_public():
            raise ModelNotFound("Paths are not read here. Name a Hub id, or pick a model from the catalogue.")
        path = Path(order.model).expanduser()
        if not path.exists():
            raise ModelNotFound(f"There is no '{order.model[:200]}'. Give a model folder or a .gguf file.")
        folder, file = (path.parent, path.name) if path.is_file() else (path, "")
        wanted = file if file.lower().endswith(".gguf") else ""     # else its config.json was named
        return _chosen(order.model, folder, [one.name for one in folder.iterdir()], wanted)
    found = _ID.fullmatch(order.model)
    if found is None:
        raise ModelNotFound(f"'{order.model[:80]}' is not a Hugging Face model id. Write it as organisation/name, "
                            "or give a folder.")
    return _fetched(order, found[1], found[2] or found[3] or "")


def _chosen(name: str, folder: Path, files: list[str], wanted: str, revision: str = "") -> Source:
    """The weights among the files of a folder: the GGUF that is wanted, safetensors, else the usual GGUF."""
    if wanted or "config.json" not in files:
        parts = gguf_files(files, wanted)
        if not parts:
            raise ModelNotFound(f"'{name[:200]}' holds neither config.json nor a .gguf file.")
        return Source(name, folder, parts[0], revision)
    if not any(file.endswith(".safetensors") for file in files):
        raise ModelError(f"'{name[:200]}' has no safetensors weights; pickled ones are never loaded, as they run code.")
    return Source(name, folder, "", revision)


def _fetched(order: Order, repository: str, wanted: str) -> Source:
    """A snapshot of the repository in huggingface_hub's cache."""
    import httpx
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    token, endpoint = order.token or False, order.endpoint or None
    try:
        patterns = list(_WANTED)
        if not order.offline:
            files = HfApi(endpoint=endpoint, token=token).list_repo_files(repository)
            if wanted or "config.json" not in files:
                patterns = [*(gguf_files(files, wanted) or ("*.gguf",))]
        elif wanted:
            patterns = [f"*{wanted}*"]
        folder = Path(snapshot_download(
            repository, allow_patterns=patterns, token=token, endpoint=endpoint, local_files_only=order.offline,
        ))
    except HfHubHTTPError as error:
        raise refusal(error.response, f"'{repository}'", bool(order.token)) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        raise HubUnreachable(f"'{repository}' is not on this machine and the Hub was not asked or is away.") from None
    except (httpx.HTTPError, OSError):
        raise HubUnreachable(f"'{repository}' could not be fetched from the Hub. Check the network and disk.") from None
    held = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    return _chosen(repository, folder, held, wanted, folder.name)


def load(source: Source, device: torch.device) -> Loaded:
    """The model in 32 bits on `device`. Raises QualityError in one sentence where it is none that can be scored."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, GgufConfig

    options: dict[str, Any] = {"use_safetensors": True}
    if source.gguf:                 # an ordinary model, also where there are kernels for its blocks
        options = {"gguf_file": source.gguf, "quantization_config": GgufConfig(dequantize=True)}
    else:
        _check_config(source)
    try:
        with _gguf_read_once():
            tokenizer = _tokenizer(source)
            model = AutoModelForCausalLM.from_pretrained(
                source.folder, dtype=torch.float32, trust_remote_code=False, local_files_only=True, **options
            )
    except (ImportError, LookupError, OSError, RuntimeError, SafetensorError, ValueError, struct.error) as error:
        if ran_out_of_memory(error):
            raise
        raise QualityError(_why(source, error)) from error
    stored = torch.float32 if source.gguf else _stored(source)
    return Loaded(model.to(device).eval(), tokenizer, source, _context(model.config), stored)


@contextmanager
def _gguf_read_once() -> Iterator[None]:
    """transformers 5.17 reads a GGUF's header four times and names all tensors anew for each module of the model.

    SmolLM2-135M takes 18 s of a core with both done once, 54 s without.
    """
    import gguf

    kept = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    vars(gguf).update({name: cache(one) for name, one in kept.items()})
    try:
        yield
    finally:
        vars(gguf).update(kept)


def _tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """What reads and writes the model's tokens. Raises QualityError where it would score other tokens."""
    from transformers import AutoTokenizer

    if not source.gguf:
        whole: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
        return whole
    tokenizer = sentencepiece(source.folder / source.gguf) or AutoTokenizer.from_pretrained(
        source.folder, gguf_file=source.gguf, trust_remote_code=False
    )
    if not _reads_its_words(tokenizer):
        raise QualityError(f"The tokenizer in '{source.name[:200]}' is not read right, so other tokens would be scored "
                           f"than the model knows; use the model's folder or Hub id instead.")
    return tokenizer


def _check_config(source: Source) -> None:
    """Refuses what has no causal head and what wants its own code, before a weight is read."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    try:
        config = json.loads((source.folder / "config.json").read_bytes())
        family, heads = config.get("model_type"), config.get("architectures") or []
    except (OSError, ValueError, AttributeError):
        raise QualityError(f"The config.json of '{source.name[:200]}' cannot be read.") from None
    if family not in CONFIG_MAPPING_NAMES:
        if config.get("auto_map"):
            raise QualityError(f"'{source.name[:200]}' wants to run code of its own, which is never done here; "
                               f"use a model that transformers knows.")
        raise QualityError(f"transformers does not know the model type '{family!s:.60}' of '{source.name[:200]}'.")
    if config.get("quantization_config"):
        raise QualityError(f"'{source.name[:200]}' is quantised already, so there is no full-precision model to hold "
                           f"variants against; use the 16-bit checkpoint it was made from.")
    causal = {name for value in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
              for name in ((value,) if isinstance(value, str) else value)}
    if heads and not causal & set(heads):
        raise QualityError(f"'{source.name[:200]}' ({heads[0]!s:.60}) has no head that predicts the next token; "
                           f"use a text-generation model.")


def _reads_its_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether words of the vocabulary come out as the one token each of them is.

    They do not where a GGUF's vocabulary is taken for one of another kind.
    """
    words = (tokenizer.decode([number]) for number in range(1_000, min(len(tokenizer), 6_000), 5))
    whole = [len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1
             for word in words if word.isascii() and word.strip().isalpha() and len(word.strip()) > 2]
    return sum(whole) >= MOST_WORDS * len(whole)


def _stored(source: Source) -> torch.dtype:
    """The dtype of a checkpoint's weights, 16 bits only where all of them are."""
    import torch
    from safetensors import safe_open

    kinds = {"BF16": torch.bfloat16, "F16": torch.float16}
    found = set()
    for file in source.folder.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            found |= {opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118
    return kinds[found.pop()] if len(found) == 1 and found <= kinds.keys() else torch.float32


def _why(source: Source, error: Exception) -> str:
    text = str(error).strip().split("\n")[0].rstrip(".")
    if "trust_remote_code" in str(error):
        return f"'{source.name[:200]}' wants to run code of its own, which is never done here."
    return f"transformers cannot load '{source.name[:200]}': {text[:200] or type(error).__name__}."


def _context(config: Any) -> int | None:
    text = config.get_text_config()
    known = getattr(text, "max_position_embeddings", None)
    return int(known) if known else None
