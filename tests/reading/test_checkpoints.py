"""Declarations, safetensors headers and what of them stays in memory.

tests/data/checkpoints.csv and headers.csv hold nine real checkpoints: tensor lists as printed in
github.com/gogongxt/python (file per row), parameters from transformers 5.23.0 on the meta device.
Layer and expert numbers are written as ranges; where layers alternate, the range counts them.
"""

import csv
import json
import re
import struct
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.basics.errors import ArchitectureUnknown, CheckpointInvalid
from core.basics.places import ASSETS, ROOT
from core.basics.units import GIB
from core.physics.memory import weight_bytes_per_gpu
from core.products import gpus
from core.products.formats import FORMATS, find_kv
from core.reading.checkpoints import described, shipped
from core.reading.checkpoints.declaration import declaration
from core.reading.checkpoints.resident import kept_rows, parameters
from core.reading.checkpoints.roles import placement
from core.reading.checkpoints.safetensors import header_bytes, read_header, read_headers
from core.reading.checkpoints.storage import kept
from core.reading.checkpoints.tensors import BITS, Span, summed
from core.reading.configs import read_config
from core.terms import Deployment
from tests.hub_server import header_of, llama, llama_tensors

DATA = ROOT / "tests" / "data"


def rows_of(file):
    with (DATA / file).open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


CHECKPOINTS = {row["model"]: row for row in rows_of("checkpoints.csv")}


def expanded(name):
    found = re.search(r"\[(\d+)-(\d+)\]", name)
    if found is None:
        return [name]
    numbers = range(int(found[1]), int(found[2]) + 1)
    return [full for i in numbers for full in expanded(name[: found.start()] + str(i) + name[found.end():])]


def tensors_of(model):
    """Every tensor of a real checkpoint, end to end, as rows."""
    at, spans = 0, []
    for row in rows_of("headers.csv"):
        if row["model"] == model:
            shape = tuple(int(size) for size in row["shape"].split("x"))
            size = prod(shape) * BITS[row["dtype"]] // 8
            for name in expanded(row["name"]):
                spans.append(Span(name, row["dtype"], shape, prod(shape), at, at + size))
                at += size
    return spans


@pytest.mark.parametrize("model", CHECKPOINTS)
def test_real_checkpoints_reconcile_to_the_byte(model):
    """Stored bytes, parameters without MTP, MTP parameters, and bits a weight: published lists."""
    row = CHECKPOINTS[model]
    spans = tensors_of(model)
    assert len(spans) == int(row["tensors"])
    rows, layers = summed(spans), int(row["layers"])
    found = shipped(json.loads(row["declared"]), None, rows, layers=layers)
    assert found.format == row["format"]
    assert found.stored_bytes == int(row["stored_bytes"])
    bits = 8 if found.format == "fp8" else 4
    resident = parameters(kept_rows(rows, layers, False), bits)
    assert resident == int(row["total_params"])
    assert parameters(rows, bits) - resident == int(row["mtp_params"])
    dropped = [span for span in spans if "mtp." in span.name or f"layers.{layers}." in span.name]
    assert found.stored_bytes - found.weight_bytes == sum(span.end - span.begin for span in dropped)
    if row["bits_per_weight"]:
        assert found.bits_per_weight == pytest.approx(float(row["bits_per_weight"]), abs=5e-6)
        assert FORMATS[found.format].bits_per_weight == pytest.approx(found.bits_per_weight, rel=2e-4)


def test_a_tied_head_stored_twice_counts_once():
    """Qwen3-0.6B: 751,632,384 elements in the file, 596,049,920 unique (safetensors header; meta device)."""
    config = {"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024, "num_hidden_layers": 28,
              "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072,
              "tie_word_embeddings": True, "max_position_embeddings": 40960}
    spec = read_config(config, name="Qwen/Qwen3-0.6B")
    assert spec.total_params == 596_049_920
    head = 151936 * 1024
    rest = 596_049_920 - head
    spans = [Span("lm_head.weight", "BF16", (151936, 1024), head, 0, 2 * head),
             Span("model.embed_tokens.weight", "BF16", (151936, 1024), head, 2 * head, 4 * head),
             Span("model.layers.0.all.weight", "BF16", (rest,), rest, 4 * head, 4 * head + 2 * rest)]
    found = described(spec, config, None, summed(spans))
    assert found.shipped.stored_bytes == 2 * 751_632_384
    assert found.shipped.weight_bytes == 2 * 596_049_920
    assert found.notes == spec.notes


def test_saved_buffers_are_not_weights_and_fp32_is_served_in_16_bits():
    spans = [Span("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", (64,), 64, 0, 256),
             Span("model.layers.0.mlp.up_proj.weight", "F32", (10, 10), 100, 256, 656)]
    found = shipped({}, None, summed(spans), layers=1)
    assert (found.format, found.weight_bytes, found.stored_bytes) == ("bf16", 200, 656)


def test_a_checkpoint_that_contradicts_its_config_says_so():
    config = llama()
    spec = read_config(config, name="x/y")
    honest = summed(as_spans(header_of(llama_tensors(config))))
    assert described(spec, config, None, honest).notes == spec.notes
    bigger = summed(as_spans(header_of(llama_tensors(llama(layers=3)))))
    doubled = summed(as_spans(header_of(llama_tensors(llama(hidden=128)))))
    assert described(spec, config, None, bigger).shipped.weight_bytes == 2 * spec.total_params   # layer 2: MTP
    assert "planned as stored" in described(spec, config, None, doubled).notes[-1]


SMALL = read_config(llama(), name="x/y")


def as_spans(header):
    return [Span(name, entry["dtype"], tuple(entry["shape"]), prod(entry["shape"]), *entry["data_offsets"])
            for name, entry in header.items() if name != "__metadata__"]


def quantised(method="", **more):
    return {"quantization_config": {"quant_method": method, **more} if method else more}


def compressed(bits, kind="int", group=None, activations=None, packing="pack-quantized", **more):
    scheme = {"targets": ["Linear"], "weights": {"num_bits": bits, "type": kind, "group_size": group},
              "input_activations": activations and {"num_bits": activations}}
    return quantised("compressed-tensors", format=packing, config_groups={"group_0": scheme}, **more)


DECLARED = [   # as written by the tool named
    (quantised("awq", bits=4, group_size=128, zero_point=True, version="gemm"), "awq-int4"),
    (quantised("gptq", bits=4, group_size=128, desc_act=True), "gptq-int4"),
    (quantised("gptq", bits=4, group_size=32), "gptq-int4-g32"),
    (quantised("gptq", bits=8, group_size=128), "gptq-int8"),
    (compressed(4, group=32), "int4-g32"),
    (compressed(4, group=128), "int4"),
    (compressed(8, group=128), "int8"),
    (compressed(8, "float", packing="float-quantized", activations=8), "fp8"),
    (compressed(8, packing="int-quantized", activations=8), "w8a8-int8"),
    (compressed(4, group=128, activations=8), "w4a8"),
    (compressed(4, "float", 16, packing="nvfp4-pack-quantized"), "nvfp4"),
    (compressed(4, "float", 32, packing="mxfp4-pack-quantized"), "mxfp4"),
    ({"text_config": compressed(4, group=32)}, "int4-g32"),                   # nested: Kimi-K2.5
    ({"compression_config": compressed(4, group=128)["quantization_config"]}, "int4"),   # llm-compressor < 0.5
    (quantised("fp8", weight_block_size=[128, 128]), "fp8"),
    (quantised("fp8", weight_block_size=[1, 32]), "mxfp8"),
    (quantised("fbgemm_fp8"), "fp8"),
    (quantised("mxfp4"), "mxfp4"),                                            # gpt-oss
    ({"expert_dtype": "fp4"} | quantised("fp8", scale_fmt="ue8m0"), "mxfp4"),  # DeepSeek-V4-Flash
    (quantised("fp8", moe_quant_algo="NVFP4", quant_algo="MIXED_PRECISION"), "nvfp4"),   # its NVFP4 sibling
    (quantised(quant_algo="FP8"), "fp8"),                                     # no quant_method at all
    (quantised("modelopt", quant_algo="NVFP4"), "nvfp4"),
    (quantised("modelopt", quant_algo="MIXED_PRECISION", quantized_layers={
        "model.layers.0.self_attn.q_proj": {"quant_algo": "MXFP8"},
        "model.layers.0.self_attn.k_proj": {"quant_algo": "MXFP8"},
        "model.layers.0.mlp.experts.0.w1": {"quant_algo": "NVFP4"}}), "nvfp4"),   # MiniMax-M3-NVFP4
    (quantised("bitsandbytes", load_in_8bit=True), "bnb-int8"),
    (quantised("bitsandbytes", load_in_4bit=True, bnb_4bit_quant_type="nf4"), "bnb-nf4"),
    (quantised("bitsandbytes", load_in_4bit=True, bnb_4bit_use_double_quant=True), "bnb-nf4-dq"),
    (quantised("torchao", quant_type="int4_weight_only"), "int4"),
    (quantised("torchao", quant_type="int8_dynamic_activation_int8_weight"), "w8a8-int8"),
    (quantised("torchao", quant_type={"default": {"_type": "Float8DynamicActivationFloat8WeightConfig"}}), "fp8"),
    (quantised("torchao", quant_type={"default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 32}}}),
     "int4-g32"),
    (quantised("quark", global_quant_config={"weight": {"dtype": "fp8_e4m3"}}), "fp8"),
    (quantised("auto-round", bits=4, group_size=128, packing_format="auto_round:auto_gptq"), "gptq-int4"),
    (quantised("hqq", quant_config={"weight_quant_params": {"nbits": 4, "group_size": 64}}), "hqq-int4"),
    (quantised("quanto", weights="int8"), "int8"),
]


@pytest.mark.parametrize(("config", "name"), DECLARED)
def test_declared_formats(config, name):
    assert shipped(config).format == name
    assert name in FORMATS


def test_nothing_declared_is_not_quantised():
    assert shipped({"model_type": "llama"}) is None
    assert shipped(quantised("compressed-tensors", config_groups={}, sparsity_config={"format": "dense"})) is None


def test_modelopt_may_say_it_in_its_own_file_only():
    """nvidia/Llama-3.1-70B-Instruct-FP8: config.json is silent, hf_quant_config.json is not."""
    found = shipped({}, {"producer": {"name": "modelopt"}, "quantization": {
        "quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}})
    assert (found.format, found.kv_format, found.unquantised) == ("fp8", "fp8", ("lm_head",))
    assert "hf_quant_config.json" in found.source


def test_kv_cache_scheme_of_compressed_tensors():
    scheme = {"num_bits": 8, "type": "float", "dynamic": False}
    assert shipped(compressed(4, group=128, kv_cache_scheme=scheme)).kv_format == "fp8"


@pytest.mark.parametrize("config", [quantised("aqlm"), quantised("gptq", bits=9), quantised("awq", bits=16),
                                    quantised("modelopt", quant_algo="FP3"), quantised("mystery", bits=5)])
def test_unknown_quantisations_are_refused_by_name(config):
    with pytest.raises(ArchitectureUnknown, match=r"AQLM|'9'|'16'|FP3|mystery"):
        shipped(config)


def test_lists_of_what_stays_16_bit():
    """Names, globs (ModelOpt), expressions (compressed-tensors) and parts of a path (MiniMax-M2.5 'gate')."""
    asked = kept(["lm_head", "model.layers.3*", "re:.*shared_experts.*", "gate", "*.attn.*"])
    assert all(asked.holds(module) for module in (
        "lm_head", "language_model.lm_head", "model.layers.3.mlp.up_proj", "model.layers.31.x",
        "model.layers.9.mlp.shared_experts.up_proj", "model.layers.1.mlp.gate", "layers.0.attn.wo_b"))
    assert not asked.holds("model.layers.4.mlp.gate_proj")
    assert not asked.holds("model.layers.4.self_attn.o_proj")


QUANTISED = rows_of("quantisation.csv")


def _gib(spec):
    deployment = Deployment(gpu=gpus.find("H100 SXM5 80GB"), weights=FORMATS[spec.shipped.format],
                            kv_cache=find_kv("bf16"), engine="hf-eager")
    return weight_bytes_per_gpu(spec, deployment) / GIB


@pytest.mark.parametrize("row", QUANTISED, ids=[row["case"] for row in QUANTISED])
def test_bytes_of_declarations_in_the_wild(row):
    """What the loader holds of Qwen3-8B and Qwen3-30B-A3B: layouts of the tool named, counted tensor by tensor."""
    config = json.loads(next(r["config"] for r in csv.DictReader((ASSETS / "models.csv").open(encoding="utf-8"))
                             if r["name"] == row["model"]))
    spec = read_config(config | json.loads(row["declared"]), name=row["model"])
    assert _gib(spec) == pytest.approx(float(row["gib"]), rel=0.003)


@pytest.mark.parametrize(("method", "name"), [("aqlm", "AQLM"), ("vptq", "VPTQ"), ("spqr", "SpQR")])
def test_headers_settle_what_a_declaration_leaves_open(method, name):
    """Code books are in no config.json: refused by name without tensor headers, to the byte with them."""
    config = llama() | quantised(method)
    with pytest.raises(ArchitectureUnknown, match=f"{name}, whose code books"):
        read_config(config, name="x/y")
    spans, at = [], 0
    for span in as_spans(header_of(llama_tensors(llama()))):
        size = (span.end - span.begin) // 8 if "proj" in span.name else span.end - span.begin
        spans.append(Span(span.name, "U8", (size,), size, at, at + size))
        at += size
    found = read_config(config, name="x/y", headers=summed(spans)).shipped
    assert (found.format, found.weight_bytes) == (f"{method}-2bit", at)


def test_expressions_that_could_run_for_ever_are_left_out():
    assert not kept([r"re:(a+)+$", r"re:.*.*.*.*.*x", "re:(((", "re:" + "a" * 500]).holds("a" * 60)


@pytest.mark.parametrize(("config", "roles"), [
    (compressed(4, group=32, ignore=["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*",
                                     r"re:.*mlp\.(gate|up|gate_up|down)_proj.*"]),
     {"attention": "bf16", "shared expert": "bf16", "mlp": "bf16"}),                          # Kimi-K2.5
    (quantised("mxfp4", modules_to_not_convert=["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                                "model.embed_tokens", "lm_head"]), {"attention": "bf16"}),
    ({"expert_dtype": "fp4"} | quantised("fp8"),
     {"attention": "fp8", "mlp": "fp8", "shared expert": "fp8", "state": "fp8"}),             # DeepSeek-V4
    (quantised("modelopt", quant_algo="NVFP4", ignore=[f"model.layers.{i}.self_attn*" for i in range(60)]),
     {"attention": "bf16"}),
    (quantised("modelopt", quant_algo="MIXED_PRECISION", quantized_layers={
        "model.layers.0.linear_attn.out_proj": {"quant_algo": "FP8"},
        "model.layers.0.mlp.experts": {"quant_algo": "W4A16_NVFP4"},
        "model.layers.3.self_attn.o_proj": {"quant_algo": "FP8"}, "lm_head": {"quant_algo": "W4A16_NVFP4"}}),
     {"attention": "fp8", "state": "fp8", "head": "nvfp4", "mlp": "bf16", "shared expert": "bf16"}),
    (quantised("fp8", modules_to_not_convert=["gate", "e_score_correction_bias", "lm_head"]), {}),   # MiniMax-M2.5
])
def test_roles_in_another_format(config, roles):
    assert {role.value: name for role, name in shipped(config).role_formats} == roles


def test_headers_unmask_fp4_experts_declared_fp8():
    """DeepSeek-V4-Flash's first config lacked expert_dtype: the I8 experts tell."""
    spans = [Span("layers.0.ffn.experts.0.w1.weight", "I8", (8, 4), 32, 0, 32),
             Span("layers.0.ffn.experts.0.w1.scale", "F8_E8M0", (8, 1), 8, 32, 40)]
    assert shipped(quantised("fp8"), None, summed(spans), layers=1).format == "mxfp4"


def tensor(begin, end, shape=None, dtype="U8"):
    return {"dtype": dtype, "shape": shape if shape is not None else [end - begin], "data_offsets": [begin, end]}


HOSTILE = {
    "overlap": {"a": tensor(0, 8), "b": tensor(4, 12)},
    "reversed": {"a": tensor(8, 0, [8])},
    "outside": {"a": tensor(0, 101)},
    "shape denies bytes": {"a": tensor(0, 8, [1])},
    "negative": {"a": tensor(-8, 0, [8])},
    "huge": {"a": tensor(0, 2**70, [2**70])},
    "float": {"a": {"dtype": "U8", "shape": [8], "data_offsets": [0.0, 8.0]}},
    "one offset": {"a": {"dtype": "U8", "shape": [8], "data_offsets": [8]}},
    "not a tensor": {"a": 5, "b": tensor(0, 8)},
    "extra key": {"a": tensor(0, 8) | {"x": 1}, "b": tensor(8, 16)},
    "list": [1, 2, 3],
    "tensor at the top": tensor(0, 8),
}


@pytest.mark.parametrize("header", HOSTILE.values(), ids=HOSTILE)
def test_hostile_headers_end_in_one_sentence(header):
    with pytest.raises(CheckpointInvalid) as error:
        read_header(json.dumps(header).encode(), "x.safetensors", 100)
    assert str(error.value).count("\n") == 0
    assert len(str(error.value)) < 250


@pytest.mark.parametrize("body", [
    b"", b"{", b"[" * 1_000_000, b'{"a":' * 200_000, b"\xff\xfe", b"null", b"3",
    b'{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}}',
    b'{"a":{"dtype":"U8","shape":[' + b"1," * 1_000_000 + b'8],"data_offsets":[0,8]}}',
    b'{"a":{"dtype":"U8","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}',
])
def test_malformed_headers(body):
    with pytest.raises(CheckpointInvalid):
        read_header(body, "x.safetensors", 100)


@pytest.mark.parametrize("start", [b"", b"\1\2", struct.pack("<Q", 2**63), struct.pack("<Q", 2**64 - 1),
                                   struct.pack("<Q", 1), struct.pack("<Q", 500)])
def test_absurd_lengths(start):
    with pytest.raises(CheckpointInvalid):
        header_bytes(start, "x.safetensors", 100)


def test_a_million_tensors_are_refused():
    body = b"{" + b",".join(b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(400_000)) + b"}"
    with pytest.raises(CheckpointInvalid, match="more than 200,000 tensors"):
        read_header(body, "x.safetensors")
    with pytest.raises(CheckpointInvalid, match="claims a header"):
        header_bytes(struct.pack("<Q", 60_000_000), "x.safetensors", 10**9)   # 10^6 tensors need as much


@given(st.binary(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["U8", "BF16"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["a", "b", "__metadata__", "dtype", "shape", "data_offsets", "headers", "index"]),
        inner, max_size=4),
    max_leaves=20).map(lambda value: json.dumps(value).encode()))
def test_any_header_reads_or_is_refused(body):
    for read in (lambda: read_header(body, "x", 100), lambda: read_headers(body, "x")):
        try:
            read()
        except CheckpointInvalid as error:
            assert "\n" not in str(error)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([
                        "quantization_config", "text_config", "quant_method", "quant_algo", "config_groups", "weights",
                        "num_bits", "bits", "ignore", "quantized_layers", "quant_type", "kv_cache_scheme", "group_0",
                        "weight", "global_quant_config", "quant_config", "weight_block_size"]), inner, max_size=5),
                    max_leaves=30),
       st.sampled_from(["awq", "gptq", "fp8", "compressed-tensors", "torchao", "quark", "hqq", "modelopt", "quanto"]))
def test_any_declaration_reads_or_is_refused(value, method):
    config = value if isinstance(value, dict) else {}
    found = {"quantization_config": {**config, "quant_method": method}}
    for candidate in (config, found):
        try:
            declared = declaration(candidate, config)
        except ArchitectureUnknown:
            continue
        assert declared is None or placement(declared, SMALL).format in FORMATS
