"""What the words at the end of a repository's, a file's or a tag's name say of how its weights are stored."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core.basics.errors import InputError
from core.products.formats import find

PLAIN: Final = frozenset({"bf16", "fp16", "f16", "f32", "fp32"})     # what a model has before anybody quantises it
GGUF: Final = "gguf"
GGUF_PREFIX: Final = "gguf-"
_GGUF_DEFAULT: Final = "q4_k_m"     # llama.cpp takes Q4_K_M when nothing is said
_GGUF_WORD: Final = re.compile(
    r"(?:^|[-_.])((?:UD-|i1-)?(?:I?Q\d\w*|TQ\d_\d|MXFP4(?:_MOE)?|BF16|F16|F32))(?=$|[-.])", re.IGNORECASE
)
_PART: Final = re.compile(r"-\d{5}-of-\d{5}$")
# Ends of repository names -> the format; each as most publishers of such copies mean it (assets/models_aliases.csv).
_ENDS: Final[Mapping[str, str]] = {
    r"(?:i1[-_.])?gguf": GGUF,
    r"awq(?:[-_]?int4|[-_]?4bit)?|(?:int4|4bit)[-_]awq": "awq-int4",
    r"gptq[-_](?:int8|8bit)": "gptq-int8",
    r"gptq(?:[-_]?int4|[-_]?4bit)?|(?:int4|4bit)[-_]gptq|(?:quantized[-_.])?w4a16": "gptq-int4",
    r"fp8(?:[-_](?:dynamic|block|kv))*": "fp8",
    r"nvfp4|fp4": "nvfp4",
    r"mxfp4": "mxfp4",
    r"mxfp8": "mxfp8",
    r"(?:unsloth[-_])?bnb[-_]4bit": "bnb-nf4-dq",
    r"(?:unsloth[-_])?bnb[-_]8bit": "bnb-int8",
    r"(?:quantized[-_.])?w8a8(?:[-_]int8)?": "w8a8-int8",
    r"bf16|fp16": "bf16",
}
_MLX_ENDS: Final[Mapping[str, str]] = {
    r"(?P<bits>[2-8])-?bits?(?:[-_]dwq)?": "mlx-{bits}bit", r"mxfp4": "mlx-mxfp4", r"bf16|fp16": "bf16",
}
_MLX: Final = "mlx"
# Mean bits a weight stand in the repository's name or name one of its branches; those of the head (-h6) do not count.
_EXLLAMA: Final = re.compile(
    r"(?P<model>.+?)[-_.](?:(?P<kind>exl[23])(?:[-_.](?P<after>\d[\d.]*)bpw)?"
    r"|(?P<before>\d[\d.]*)bpw(?:[-_.]h\d)?[-_.](?P<late_kind>exl[23]))(?:[-_.]h\d)?",
    re.IGNORECASE,
)
_BRANCH: Final = re.compile(r"(\d[\d.]*)(?:bpw)?(?:[-_.]h\d)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Copy:
    """A repository's name taken apart."""

    model: str      # what it is a copy of
    stored: str     # the word for how


def copy(name: str) -> Copy | None:
    """The model and the format that `org/model-FORMAT[:QUANT | /file.gguf]` names; None where it names no format."""
    publisher, slash, rest = name.partition("/")
    if not slash:
        return None
    repository, _, file = rest.partition("/")
    repository, _, quant = repository.partition(":")
    if found := _EXLLAMA.fullmatch(repository):
        return _exllama_copy(found, quant, publisher)
    ends = _MLX_ENDS if _MLX in publisher.lower() or _MLX in repository.lower() else _ENDS
    plain = re.sub(rf"[-_.]{_MLX}(?=[-_.]|$)", "", repository, flags=re.IGNORECASE)
    for end, fmt in ends.items():
        found = re.fullmatch(rf"(.+?)[-_.](?:{end})", plain, re.IGNORECASE)
        if found is None:
            continue
        if fmt != GGUF:
            known = fmt.format(**found.groupdict())
            return None if quant or file else Copy(_without_publisher(found[1], publisher), known)
        word = quant or (gguf_word(file) if file else _GGUF_DEFAULT)
        return Copy(_without_publisher(found[1], publisher), word) if word else None
    return None


def _exllama_copy(found: re.Match[str], branch: str, publisher: str) -> Copy | None:
    """`org/model-exl3:4.0bpw`, `org/model-4.0bpw-h6-exl2`; None where no bits are said."""
    said = found["after"] or found["before"]
    if not said and (named := _BRANCH.fullmatch(branch)):
        said = named[1]
    kind = (found["kind"] or found["late_kind"]).lower()
    return Copy(_without_publisher(found["model"], publisher), f"{kind}-{said}bpw") if said else None


def gguf_word(file: str) -> str:
    """The quantisation in the name of a GGUF file: "Qwen3-8B-UD-Q4_K_XL.gguf" -> "UD-Q4_K_XL"; empty where none is."""
    stem = _PART.sub("", re.sub(r"\.gguf$", "", file.rpartition("/")[2], flags=re.IGNORECASE))
    words = _GGUF_WORD.findall(stem)
    return words[-1] if words else ""


def _without_publisher(model: str, publisher: str) -> str:
    """bartowski names his copies publisher_model: "Qwen_Qwen3-8B" -> "Qwen3-8B"; others sign theirs at the end."""
    signed = re.sub(rf"[-_.]{re.escape(publisher)}$", "", model, flags=re.IGNORECASE)
    return re.sub(r"^(?:[a-z][a-z-]*)_(?=[A-Za-z])", "", signed, flags=re.IGNORECASE)


def format_of(word: str) -> str | None:
    """The weight format a word in a name means, or one of `PLAIN`; None where it is not known."""
    plain = word.lower()
    if plain in PLAIN:
        return "bf16" if plain in ("bf16", "f16", "fp16") else "fp32"
    for name in (word, f"{GGUF_PREFIX}{word}"):
        with contextlib.suppress(InputError):
            return find(name).name
    return None
