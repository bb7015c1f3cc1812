"""Every architecture of the gguf package: a small file of its tensors and keys, written by that package, read back."""

from math import prod

import numpy as np
import pytest
from gguf import GGUFWriter
from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES, MODEL_TENSORS, TENSOR_NAMES

from core.basics.errors import ArchitectureUnknown
from core.products.formats import find_kv
from core.reading import hub
from core.reading.checkpoints.gguf_config import ARCHITECTURES

HIDDEN, INNER, VOCAB, LAYERS, HEADS, KV_HEADS = 256, 512, 512, 4, 4, 2
TEXT = [arch for arch in MODEL_ARCH if ARCHITECTURES[MODEL_ARCH_NAMES[arch]].writes.startswith("text")]
SHAPES = {
    "attn_q": (HIDDEN, HIDDEN), "attn_k": (HIDDEN, HIDDEN // 2), "attn_v": (HIDDEN, HIDDEN // 2),
    "attn_qkv": (HIDDEN, 2 * HIDDEN), "attn_output": (HIDDEN, HIDDEN), "ffn_gate": (HIDDEN, INNER),
    "ffn_up": (HIDDEN, INNER), "ffn_down": (INNER, HIDDEN), "ffn_gate_inp": (HIDDEN, 4),
    "ffn_gate_exps": (HIDDEN, 128, 4), "ffn_up_exps": (HIDDEN, 128, 4), "ffn_down_exps": (128, HIDDEN, 4),
    "ffn_gate_shexp": (HIDDEN, 128), "ffn_up_shexp": (HIDDEN, 128), "ffn_down_shexp": (128, HIDDEN),
    "ssm_in": (HIDDEN, 2 * HIDDEN), "ssm_out": (HIDDEN, HIDDEN), "ssm_conv1d": (4, HIDDEN), "attn_q_a": (HIDDEN, 64),
    "attn_q_b": (64, HIDDEN), "attn_kv_a_mqa": (HIDDEN, 96), "attn_kv_b": (64, HIDDEN), "attn_k_b": (64, 64, 4),
    "attn_v_b": (64, 64, 4), "token_embd": (HIDDEN, VOCAB), "output": (HIDDEN, VOCAB),
}
OTHERS = ("rope_freqs", "rope_factors_long", "rope_factors_short")


def tensors(arch):
    for kind in MODEL_TENSORS[arch]:
        name = TENSOR_NAMES[kind]
        if name in OTHERS or name.startswith(("v.", "mm.", "a.")) or "nextn" in name:
            continue
        leaf = name.split("{bid}.")[-1]
        wide = ("time_mix", "channel_mix", "shortconv")
        shape = SHAPES.get(leaf, (HIDDEN, 64) if any(part in leaf for part in wide) else (HIDDEN,))
        for layer in range(LAYERS if "{bid}" in name else 1):
            yield name.replace("{bid}", str(layer)) + ".weight", shape


def written(path, arch, table, **keys):
    """A file whose tensor data is all holes; its number of weights."""
    names = " ".join(name for name, _ in table)
    writer = GGUFWriter(path, MODEL_ARCH_NAMES[arch])
    said = {"block_count": LAYERS, "embedding_length": HIDDEN, "feed_forward_length": INNER, "vocab_size": VOCAB,
            "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS, "context_length": 2048}
    if "_exps" in names:
        said |= {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 128}
    if "ssm_" in names:
        said |= {"ssm.conv_kernel": 4, "ssm.inner_size": HIDDEN, "ssm.state_size": 16, "ssm.group_count": 1}
    if "kv_a_mqa" in names:
        said |= {"attention.kv_lora_rank": 64, "attention.key_length_mla": 96, "attention.value_length_mla": 64,
                 "rope.dimension_count": 32, "attention.key_length": 96, "attention.value_length": 64}
    if "time_mix" in names:
        said["wkv.head_size"] = 64
    if "shortconv" in names:
        said["shortconv.l_cache"] = 3
    for key, value in (said | keys).items():
        add = writer.add_array if isinstance(value, list) else writer.add_uint32
        add(f"{MODEL_ARCH_NAMES[arch]}.{key}", value)
    for name, shape in table:
        writer.add_tensor_info(name, shape[::-1], np.dtype(np.float16), 2 * prod(shape))
    writer.open_output_file(path)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    weights = sum(prod(shape) for _, shape in table)
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + 2 * weights + 64 * len(table))
    return weights


def read(tmp_path, arch, **keys):
    file = tmp_path / "small.gguf"
    weights = written(file, arch, list(tensors(arch)), **keys)
    return hub.resolve(str(file)), weights


def test_the_package_knows_what_the_table_knows():
    assert set(ARCHITECTURES) == set(MODEL_ARCH_NAMES.values())
    assert len(TEXT) == 113


@pytest.mark.parametrize("arch", TEXT, ids=lambda arch: MODEL_ARCH_NAMES[arch])
def test_every_architecture_that_writes_text(arch, tmp_path):
    """Parameters are those of the tensors, and something remembers the context."""
    spec, weights = read(tmp_path, arch)
    assert spec.total_params == pytest.approx(weights, rel=0.002)
    assert spec.n_layers == LAYERS
    assert spec.kv_bytes_per_token(find_kv("fp16")) + spec.state_bytes() > 0
    assert spec.shipped.weight_bytes == 2 * weights


@pytest.mark.parametrize("arch", set(MODEL_ARCH) - set(TEXT) - {MODEL_ARCH.MMPROJ}, ids=lambda a: MODEL_ARCH_NAMES[a])
def test_what_writes_no_text_is_refused_by_name(arch, tmp_path):
    with pytest.raises(ArchitectureUnknown, match=f"'{MODEL_ARCH_NAMES[arch]}'.*writes no text"):
        read(tmp_path, arch)


@pytest.mark.parametrize(("arch", "window", "full"), [
    (MODEL_ARCH.OLMO2, 1024, [3]), (MODEL_ARCH.PHI3, 1024, [0, 1, 2, 3]), (MODEL_ARCH.GEMMA2, 1024, [1, 3]),
    (MODEL_ARCH.LLAMA4, None, [3]), (MODEL_ARCH.SMALLTHINKER, 1024, [0]), (MODEL_ARCH.GPT_OSS, 128, [1, 3]),
    (MODEL_ARCH.LLAMA, 1024, [0, 1, 2, 3]), (MODEL_ARCH.AFMOE, 1024, [3]),
])
def test_windows_as_llama_cpp_has_them(arch, window, full, tmp_path):
    """llama-model.cpp `set_swa_pattern`: Olmo 3 is one in four, Phi-3's window is switched off."""
    spec, _ = read(tmp_path, arch, **({"attention.sliding_window": window} if window else {}))
    assert [i for i, kind in enumerate(spec.layer_kinds) if kind == "full"] == full


def test_layers_with_keys_of_their_own(tmp_path):
    """Per-layer KV heads (OpenELM, Deci) and a window pattern a layer (MiMo, Gemma 4)."""
    spec, _ = read(tmp_path, MODEL_ARCH.OPENELM, **{"attention.head_count_kv": [1, 2, 2, 4]})
    assert spec.kv_bytes_per_token(find_kv("fp16")) == 2 * 64 * 2 * (1 + 2 + 2 + 4)
    spec, _ = read(tmp_path, MODEL_ARCH.MIMO2, **{"attention.sliding_window": 128,
                                                  "attention.sliding_window_pattern": [1, 0, 1, 1]})
    assert spec.layer_kinds == ("sliding", "full", "sliding", "sliding")


def test_a_file_of_keys_alone_says_what_it_is_read_as(tmp_path):
    file = tmp_path / "keys.gguf"
    written(file, MODEL_ARCH.PLAMO3, [("token_embd.weight", (HIDDEN, VOCAB))])
    assert "read from its keys" in " ".join(hub.resolve(str(file)).notes)
