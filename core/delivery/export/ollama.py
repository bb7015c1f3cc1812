"""Ollama: the same GGUF file behind Ollama's own server."""

import shlex

from core.basics.errors import InputError
from core.delivery.export.launch import CACHE_TYPES, gguf_notes
from core.delivery.export.manifests import Manifest, slug
from core.delivery.export.order import Order, batch_limit, gguf_file, request_length
from core.products.engines import find as find_engine


def ollama(ordered: Order) -> Manifest:
    """A script that writes the Modelfile and starts the server. Raises InputError unless a GGUF file is planned.

    Ollama runs the kernels of llama.cpp; its settings are environment variables (Ollama FAQ) and
    parameters of a Modelfile (Ollama Modelfile reference).
    """
    if "modelfile" not in find_engine(ordered.engine).around:
        raise InputError("Ollama runs GGUF files with llama.cpp: plan with that engine.")
    if ordered.servers > 1:
        raise InputError("Ollama runs one copy of a model: plan a single replica.")
    file, notes = gguf_file(ordered), gguf_notes(ordered)
    model = slug(ordered.spec.name)
    modelfile = f"FROM ./{file.removeprefix('./')}\nPARAMETER num_ctx {request_length(ordered)}\nPARAMETER num_gpu 999"
    settings = {
        "OLLAMA_NUM_PARALLEL": str(batch_limit(ordered)),
        "OLLAMA_FLASH_ATTENTION": "1",
        "OLLAMA_CONTEXT_LENGTH": str(request_length(ordered)),
    }
    if cache := CACHE_TYPES.get(ordered.deployment.kv_cache.name):
        settings["OLLAMA_KV_CACHE_TYPE"] = cache
    lines = [
        "#!/bin/sh", "set -eu",
        *(f"# {' '.join(note.split())}" for note in notes),
        *(f"export {name}={shlex.quote(value)}" for name, value in settings.items()),
        f"printf '%s\\n' {shlex.join(modelfile.splitlines())} > Modelfile",
        "ollama serve &",
        "until ollama list > /dev/null 2>&1; do sleep 1; done",
        shlex.join(("ollama", "create", model, "-f", "Modelfile")),
        "wait",
    ]
    return Manifest("Ollama", "ollama.sh", "bash", "\n".join(lines) + "\n", "sh ollama.sh", notes)
