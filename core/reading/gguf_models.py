"""A GGUF file -> the model in it, for every architecture of llama.cpp that writes text.

Families whose config.json is known are read through it; all others, and files that differ from it, by the tensors
of each layer and the keys architectures share (gguf-py/gguf/constants.py `Keys`, `MODEL_ARCH`; llama.cpp
src/llama-model.cpp `load_hparams`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final

from core.basics.errors import ArchitectureUnknown, CheckpointInvalid
from core.models import (
    Attention,
    CrossAttention,
    LatentAttention,
    Layer,
    Linear,
    Mixer,
    ModelSpec,
    Part,
    Recurrence,
    Role,
    Shard,
)
from core.reading.checkpoints import Gguf, Tensors, config_of, shipped_gguf
from core.reading.checkpoints.gguf_config import ARCHITECTURES
from core.reading.checkpoints.resident import kept_rows
from core.reading.configs import read_config
from core.reading.configs.stack import grouped

_MAX_LAYERS: Final = 4096
_MAX_SIZE: Final = 2**24
_DISAGREEMENT: Final = 0.01        # of the parameters: below it a file holds what its keys describe
_SOURCE_TOKENS: Final = 512        # T5's usual source, as its config.json reader takes it
_FP32_BYTES: Final = 4             # llama.cpp keeps recurrent states in F32: llama_memory_recurrent type_s
_LLAMA4_WINDOW: Final = 8192       # llama-model.cpp LLM_ARCH_LLAMA4 n_attn_chunk
_ROW: Final = ("attn_output", "attn_o", "cross_attn_o", "ffn_down", "ssm_out", "shortconv.out_proj", "time_mix_output",
               "channel_mix_value")
_ROLES: Final = (                  # of a matrix by its name in the layer, first match wins
    (Role.ROUTER, r"ffn_gate_inp"),
    (Role.EXPERT, r"ffn_\w+_(?:exps|chexps)|ffn_(?:gate|up|down)\.\*"),
    (Role.SHARED_EXPERT, r"ffn_\w+_shexp"),
    (Role.STATE, r"ssm_|shortconv|time_mix|channel_mix"),
    (Role.ATTENTION, r"attn|indexer"),
    (Role.MLP, r""),
)
_SMALL: Final = re.compile(r"conv1d|shortconv\.conv|lerp|ssm_a|ssm_d$|ssm_d\.|ssm_a\.|norm|bias|decay_w|_rel_b|sinks")
_LAYER: Final = re.compile(r"(?:dec\.)?blk\.(\d+)\.(.+)")


def read_gguf_model(header: Gguf, rows: Sequence[Tensors], name: str) -> ModelSpec:
    """The model of a file; `rows` are the tensors of all its parts.

    Raises: ArchitectureUnknown naming an architecture that writes no text or is not known; ConfigInvalid,
    CheckpointInvalid when keys are missing or absurd.
    """
    architecture = str(header.metadata.get("general.architecture") or "")
    known = ARCHITECTURES.get(architecture)
    if known is not None and not known.writes.startswith("text"):
        raise ArchitectureUnknown(f"'{architecture}' in this GGUF file is {known.writes}: it writes no text.")
    if known is None:
        config_of(header)                # refuses it by name
    file = _File(header, architecture, rows, _by_layer(rows))
    if known and known.family and (spec := _described(header, rows, name, whole=file.is_whole)):
        return spec
    if file.is_whole:
        return shipped_gguf(file.spec(name), header, rows)
    note = f"The file lacks layers: '{architecture[:40]}' is read from its keys as an ordinary transformer."
    spec = read_config(file.config(), name=name)
    return shipped_gguf(replace(spec, notes=(*spec.notes, note)), header, rows)


def _described(header: Gguf, rows: Sequence[Tensors], name: str, *, whole: bool) -> ModelSpec | None:
    """A known family through its config.json; None where the tensors of a whole file show another model."""
    try:
        spec = shipped_gguf(read_config(config_of(header), name=name), header, rows)
    except ArchitectureUnknown:
        if whole:
            return None
        raise
    kept = kept_rows(rows, spec.n_layers, False)
    stored = sum(row.elements for row in kept if not row.name.startswith(("rope_", "v.", "mm.")))
    return None if whole and abs(stored - spec.total_params) > _DISAGREEMENT * spec.total_params else spec


def _by_layer(rows: Sequence[Tensors]) -> dict[int, list[tuple[str, Tensors]]]:
    layers: dict[int, list[tuple[str, Tensors]]] = {}
    for row in rows:
        if (found := _LAYER.fullmatch(row.name)) and not found[2].startswith("nextn."):
            layers.setdefault(int(found[1]), []).append((found[2], row))
    return layers


class _File:
    """One file's keys and tensors, asked as llama.cpp asks them."""

    def __init__(self, header: Gguf, architecture: str, rows: Sequence[Tensors],
                 layers: Mapping[int, list[tuple[str, Tensors]]]) -> None:
        self._header, self._arch, self._rows, self._layers = header, architecture, rows, layers

    def _number(self, suffix: str, default: int = 0, layer: int | None = None) -> int:
        """A whole number, of one layer where the file has one for each."""
        value = self._header.metadata.get(f"{self._arch}.{suffix}", default)
        if isinstance(value, tuple):
            place = -1 if layer is None else min(layer, len(value) - 1)
            value = (max(value) if layer is None else value[place]) if value else default
        if not isinstance(value, int) or not 0 <= value <= _MAX_SIZE:
            raise CheckpointInvalid(f"The GGUF file's '{self._arch}.{suffix}' is no size a model has.")
        return value

    @cached_property
    def depth(self) -> int:
        """Layers of the stack; those that predict further tokens are not of it."""
        blocks = self._number("decoder_block_count") or self._number("block_count")
        depth = blocks - self._number("nextn_predict_layers")
        if not 1 <= depth <= _MAX_LAYERS:
            raise CheckpointInvalid(f"The GGUF file's '{self._arch}.block_count' is {blocks}, which no model has.")
        return depth

    @cached_property
    def is_whole(self) -> bool:
        """Whether every layer has tensors here."""
        return bool(self._layers) and self.depth <= len(self._layers) and all(i in self._layers
                                                                               for i in range(self.depth))

    @cached_property
    def hidden(self) -> int:
        """Width of the residual stream."""
        hidden = self._number("embedding_length")
        if not hidden:
            raise CheckpointInvalid(f"The GGUF file lacks '{self._arch}.embedding_length'.")
        return hidden

    @property
    def _vocabulary(self) -> int:
        """Rows of the embedding, as stored."""
        stored = next((row.shape[-1] for row in self._rows if row.name == "token_embd.weight" and row.shape), 0)
        vocabulary = stored or self._number("vocab_size") or self._header.lengths.get("tokenizer.ggml.tokens", 0)
        if not 1 <= vocabulary <= _MAX_SIZE:
            raise CheckpointInvalid("The GGUF file has no vocabulary.")
        return vocabulary

    def config(self) -> dict[str, object]:
        """An ordinary transformer of the file's keys, where it lacks tensors to count."""
        experts = self._number("expert_count")
        inner = self._number("expert_feed_forward_length") if experts else 0
        return {
            "model_type": "mixtral" if experts else "llama",
            "hidden_size": self.hidden,
            "num_hidden_layers": self.depth,
            "vocab_size": self._vocabulary,
            "num_attention_heads": self._heads(0),
            "num_key_value_heads": self._number("attention.head_count_kv") or None,
            "head_dim": self._number("attention.key_length") or None,
            "intermediate_size": inner or self._number("feed_forward_length") or 4 * self.hidden,
            "num_local_experts": experts,
            "num_experts_per_tok": self._number("expert_used_count", 1),
            "max_position_embeddings": self._number("context_length") or None,
            "torch_dtype": "float16",
        }

    def spec(self, name: str) -> ModelSpec:
        """The model as its tensors are."""
        layers, order = grouped([self._layer(i) for i in range(self.depth)])
        tables = {row.name: row.elements for row in self._rows if not _LAYER.fullmatch(row.name)}
        embedding = tables.pop("token_embd.weight", self._vocabulary * self.hidden)
        head = tables.pop("output.weight", 0)
        lookup = tables.pop("per_layer_token_embd.weight", 0)
        parts = self._parts(tables)
        other = sum(size for key, size in tables.items() if not key.startswith(("v.", "mm.", "a.", "enc.", "rope_")))
        note = ("Text is written by diffusion, all positions at once; speeds are those of one token after another.",)
        return ModelSpec(
            name=name, family=self._arch, hidden_size=self.hidden, vocab_size=self._vocabulary,
            max_context=self._number("context_length") or None, dtype="float16", layers=layers, layer_order=order,
            embedding_params=embedding, tied_embeddings=not head,
            head=Linear("lm_head", self.hidden, self._vocabulary, Role.HEAD), other_params=other, parts=parts,
            lookup_params=lookup, notes=note if "diffusion" in ARCHITECTURES[self._arch].writes else (),
        )

    def _parts(self, tables: Mapping[str, int]) -> tuple[Part, ...]:
        beyond = sum(row.elements for row in self._rows if (found := _LAYER.fullmatch(row.name))
                     and (int(found[1]) >= self.depth or found[2].startswith("nextn.")))
        named = (("vision tower", ("v.", "mm."), False), ("audio tower", ("a.",), False), ("encoder", ("enc.",), True))
        parts = [Part(what, size, resident=True, text=text) for what, prefixes, text in named
                 if (size := sum(n for key, n in tables.items() if key.startswith(prefixes)))]
        return (*parts, *([Part("multi-token prediction", beyond, resident=False)] if beyond else []))

    def _layer(self, index: int) -> Layer:
        found = self._layers[index]
        used = self._number("expert_used_count", 1, index) or 1
        linears = tuple(linear for name, row in found if (linear := _linear(name, row, used)) is not None)
        small = sum(row.elements for _, row in found) - sum(linear.params for linear in linears)
        return Layer(1, self._mixers(index, {name for name, _ in found}), linears, small)

    def _mixers(self, index: int, names: set[str]) -> tuple[Mixer, ...]:
        mixers: list[Mixer] = []
        if any(name.startswith(("attn_k.", "attn_qkv.", "attn_kv_a_mqa.", "attn_k_b.")) for name in names) and not any(
                name.startswith("ssm_beta") or name.startswith("ssm_ba") for name in names):
            mixers.append(self._attention(index))
        if any(name.startswith("cross_attn_k.") for name in names):
            heads, dim = self._heads(index), self._number("attention.key_length") or self.hidden // self._heads(index)
            mixers.append(CrossAttention(heads, heads, dim, _SOURCE_TOKENS))
        if any(name.startswith(("ssm_", "time_mix_", "shortconv.")) for name in names):
            mixers.append(self._recurrence(index))
        return tuple(mixers)

    def _heads(self, index: int) -> int:
        return self._number("attention.head_count", 1, index) or 1

    def _attention(self, index: int) -> Mixer:
        heads = self._heads(index)
        window = self._window(index)
        apart = "_swa" if window and f"{self._arch}.attention.key_length_swa" in self._header.metadata else ""
        qk = self._number(f"attention.key_length{apart}", self.hidden // heads) or self.hidden // heads
        value = self._number(f"attention.value_length{apart}", qk) or qk
        if (latent := self._number("attention.kv_lora_rank")) and (whole := self._number("attention.key_length_mla")):
            rope = self._number("rope.dimension_count")
            return LatentAttention(heads, latent, rope, max(0, whole - rope),
                                   self._number("attention.value_length_mla", whole), None, window)
        kv_heads = self._number("attention.head_count_kv", heads, index) or heads
        shared = self._number("attention.shared_kv_layers")
        return Attention(heads, heads if latent else kv_heads, qk, value, window,
                         writes_kv=index < self.depth - shared)

    def _window(self, index: int) -> int | None:
        """llama.cpp `set_swa_pattern`: the last layer of a period attends in full; other files ignore a window."""
        window = self._number("attention.sliding_window", _LLAMA4_WINDOW if self._arch == "llama4" else 0)
        pattern = self._header.metadata.get(f"{self._arch}.attention.sliding_window_pattern",
                                            ARCHITECTURES[self._arch].window_period)
        if not window or pattern is None:
            return None
        if isinstance(pattern, tuple):
            return window if index < len(pattern) and pattern[index] else None
        period = self._number("attention.sliding_window_pattern", ARCHITECTURES[self._arch].window_period or 0)
        first = self._arch == "smallthinker"           # dense first
        full = period > 0 and index % period == (0 if first else period - 1)
        return None if full else window

    def _recurrence(self, index: int) -> Mixer:
        """States as llama.cpp's `n_embd_r` and `n_embd_s` count them."""
        heads = self._heads(index)
        if head_dim := self._number("kda.head_dim"):
            width = heads * head_dim
            kernel = self._number("ssm.conv_kernel", 4)
            return Recurrence("kimi delta", 3 * width, kernel, width * head_dim, _FP32_BYTES)
        if size := self._number("wkv.head_size"):
            shifts = self._number("token_shift_count", 2)
            return Recurrence("rwkv", shifts * self.hidden, 2, self.hidden * size, _FP32_BYTES)
        if taps := self._number("shortconv.l_cache"):
            return Recurrence("short conv", self.hidden, taps, 0)
        inner, state, groups = (self._number(f"ssm.{key}") for key in ("inner_size", "state_size", "group_count"))
        kind = "mamba2" if groups else "mamba"
        return Recurrence(kind, inner, self._number("ssm.conv_kernel", 4), inner * state, _FP32_BYTES, groups,
                          2 * groups * state)


def _linear(name: str, row: Tensors, used: int) -> Linear | None:
    """The matrix a tensor is; None for norms, biases, convolutions and decays."""
    leaf = name.removesuffix(".weight")
    if len(row.shape) < 2 or not name.endswith(".weight") or _SMALL.search(leaf) or 0 in row.shape:
        return None
    role = next(role for role, pattern in _ROLES if re.search(pattern, leaf))
    inputs, outputs, matrices = row.shape[0], row.shape[1], row.elements // (row.shape[0] * row.shape[1])
    if role is not Role.EXPERT:
        outputs, matrices = outputs * matrices, 0
    shard = Shard.REPLICATED if role is Role.ROUTER else Shard.ROW if leaf.startswith(_ROW) else Shard.COLUMN
    return Linear(leaf, inputs, outputs, role, shard, experts=matrices, experts_per_token=min(used, matrices))

