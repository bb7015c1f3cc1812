"""A model's name as people paste it, brought to the forms the catalogue and the Hub know.

`https://huggingface.co/Qwen/Qwen3-8B/tree/main` is `Qwen/Qwen3-8B`, a link to a GGUF file `org/name/file.gguf`,
`hf.co/org/name:Q4_K_M` is `org/name:Q4_K_M`, `ollama.com/library/qwen3:8b` is `qwen3:8b`.
"""

import re
from typing import Final
from urllib.parse import unquote

_PROGRAMS: Final = re.compile(
    r"^(?:(?:ollama|lms)\s+(?:run|pull|show|get|load)\s+"
    r"|(?:ollama(?:_chat)?|lm ?studio|hf|huggingface)\s*[:/]\s*(?!/))",
    re.IGNORECASE,
)
_SITE: Final = re.compile(
    r"^(?:[a-z]+://)?(?:www\.)?(?:(?P<hub>huggingface\.co|hf\.co|hf-mirror\.com)"
    r"|(?:registry\.)?ollama\.(?:com|ai)|lmstudio\.ai)/",
    re.IGNORECASE,
)
_PAGES: Final = frozenset({"tree", "blob", "resolve", "raw", "commit", "commits", "discussions"})   # of a repository


def as_asked(text: str) -> str:
    """A name without quotes, the program it is for, the site it is on and the page of its repository."""
    name = _PROGRAMS.sub("", text.strip().strip("\"'`<>").strip())
    site = _SITE.match(name)
    if site is None:
        return name
    parts = [part for part in unquote(re.split(r"[?#]", name[site.end() :])[0]).split("/") if part]
    if parts[:1] in (["library"], ["models"], ["model"]):
        del parts[0]
    return _repository(parts) if site["hub"] else "/".join(parts)


def _repository(parts: list[str]) -> str:
    """`org/name`, with the GGUF file where the link leads to one: org/name/blob/main/file.gguf."""
    at = next((place for place, part in enumerate(parts) if part in _PAGES and place in (1, 2)), len(parts))
    inside = "/".join(parts[at + 2 :])
    repository = "/".join(parts[:at])
    return f"{repository}/{inside}" if inside.lower().endswith(".gguf") else repository
