"""GGUF headers, local and on the Hub: metadata to a spec, tensor table to bytes, hostility to one sentence."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.basics.errors import ArchitectureUnknown, CheckpointInvalid, ModelNotFound, SweetspotError
from core.products import ggml
from core.reading import hub
from core.reading.checkpoints import config_of
from core.reading.checkpoints.gguf import read_header
from core.reading.checkpoints.gguf_config import format_of
from core.reading.gguf_models import read_gguf_model
from tests.hub_server import HubServer, Repo

TYPES = {name: (each.code, each.block_weights, each.block_bytes) for name, each in ggml.TYPES.items()}


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def item(key, value):
    if isinstance(value, bool):
        return text(key) + struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", 4, value)
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    kind, form = (8, None) if value and isinstance(value[0], str) else (4, "I")
    body = b"".join(text(part) for part in value) if form is None else struct.pack(f"<{len(value)}I", *value)
    return text(key) + struct.pack("<IIQ", 9, kind, len(value)) + body


def gguf(metadata, tensors=(), version=3, padded=True):
    """A file of the given (name, type, shape) tensors laid out end to end, data all zero."""
    table, at = b"", 0
    for name, kind, shape in tensors:
        code, block, size = TYPES[kind]
        table += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", code, at)
        elements = 1
        for n in shape:
            elements *= n
        at += -(-(elements // block * size) // 32) * 32
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(item(key, value) for key, value in metadata.items()) + table
    return head + (bytes(-len(head) % 32 + at) if padded else b"")


def reader(body):
    return lambda offset, length: body[offset : offset + length]


def read(body):
    return read_header(reader(body), "x.gguf", len(body))


def llama_metadata(layers=2, hidden=256, vocab=512, **more):
    return {"general.architecture": "llama", "general.file_type": 15, "llama.context_length": 4096,
            "llama.embedding_length": hidden, "llama.block_count": layers, "llama.feed_forward_length": 2 * hidden,
            "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
            "tokenizer.ggml.tokens": [f"t{i}" for i in range(vocab)]} | more


def llama_table(layers=2, hidden=256, vocab=512, kind="Q4_K", tied=False):
    yield "token_embd.weight", "Q6_K", (hidden, vocab)
    if not tied:
        yield "output.weight", "Q6_K", (hidden, vocab)
    yield "output_norm.weight", "F32", (hidden,)
    for i in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{i}.{name}.weight", "F32", (hidden,)
        for name, shape in {"attn_q": (hidden, hidden), "attn_k": (hidden, hidden // 2),
                            "attn_v": (hidden, hidden // 2), "attn_output": (hidden, hidden),
                            "ffn_gate": (hidden, 2 * hidden), "ffn_up": (hidden, 2 * hidden),
                            "ffn_down": (2 * hidden, hidden)}.items():
            yield f"blk.{i}.{name}.weight", kind, shape


MODEL = gguf(llama_metadata(), list(llama_table()))


def expected_bytes(table):
    total = 0
    for _, kind, shape in table:
        _, block, size = TYPES[kind]
        elements = 1
        for n in shape:
            elements *= n
        total += elements // block * size
    return total


@pytest.mark.parametrize(("kind", "bits"), [
    ("Q4_0", 4.5), ("Q4_K", 4.5), ("Q5_K", 5.5), ("Q6_K", 6.5625), ("Q8_0", 8.5), ("Q3_K", 3.4375), ("Q2_K", 2.625),
    ("IQ4_XS", 4.25), ("MXFP4", 4.25), ("NVFP4", 4.5),
])
def test_bits_of_ggml_types(kind, bits):
    """ggml-common.h block layouts, as gguf 0.19 reports them."""
    _, block, size = TYPES[kind]
    assert 8 * size / block == bits


def test_a_local_file_becomes_a_spec(tmp_path):
    file = tmp_path / "tiny.Q4_K_M.gguf"
    file.write_bytes(MODEL)
    for name in (str(file), str(tmp_path)):
        spec = hub.resolve(name)
        assert spec.shipped.format == "gguf-Q4_K_M"
        assert spec.shipped.weight_bytes == spec.shipped.stored_bytes == expected_bytes(llama_table())
        h, v, layers = 256, 512, 2
        assert spec.total_params == 2 * v * h + h + layers * (2 * h + 3 * h * h + 3 * h * 2 * h)
        assert (spec.family, spec.max_context, spec.tied_embeddings, spec.notes) == ("llama", 4096, False, ())


def llama_3_1_8b(file_type):
    """Llama-3.1-8B as llama.cpp's quantiser mixes types for Q4_K_M (llama-quant.cpp llama_tensor_get_type)."""
    layers, more_bits = 32, [i < 4 or i >= 28 or (i - 4) % 3 == 2 for i in range(32)]
    metadata = {"general.architecture": "llama", "general.file_type": file_type, "llama.context_length": 131072,
                "llama.embedding_length": 4096, "llama.block_count": layers, "llama.feed_forward_length": 14336,
                "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8,
                "llama.rope.dimension_count": 128}
    table = [("token_embd.weight", "Q4_K", (4096, 128256)), ("output.weight", "Q6_K", (4096, 128256)),
             ("output_norm.weight", "F32", (4096,)), ("rope_freqs.weight", "F32", (64,))]
    for i in range(layers):
        kind = "Q6_K" if more_bits[i] else "Q4_K"
        table += [(f"blk.{i}.{name}.weight", kind_of, shape) for name, kind_of, shape in (
            ("attn_norm", "F32", (4096,)), ("ffn_norm", "F32", (4096,)), ("attn_q", "Q4_K", (4096, 4096)),
            ("attn_k", "Q4_K", (4096, 1024)), ("attn_v", kind, (4096, 1024)), ("attn_output", "Q4_K", (4096, 4096)),
            ("ffn_gate", "Q4_K", (4096, 14336)), ("ffn_up", "Q4_K", (4096, 14336)), ("ffn_down", kind, (14336, 4096)))]
    return gguf(metadata, table, padded=False)


def test_llama_3_1_8b_q4_k_m_from_the_hub():
    """8,030,261,248 parameters and 4.8944 bits a weight: llama.cpp quantize README, Llama 3.1 8B."""
    repo = Repo(files={"Llama-3.1-8B-Q4_K_M.gguf": llama_3_1_8b(15), "Llama-3.1-8B-Q8_0.gguf": b"GGUF",
                       "mmproj-f16.gguf": b"", "README.md": b""})
    with HubServer({"org/llama-GGUF": repo}) as server:
        repo.size = lambda name: 10**10
        spec = hub.resolve("org/llama-GGUF", endpoint=server.url)
        assert spec.total_params == 8_030_261_248
        assert spec.shipped.bits_per_weight == pytest.approx(4.8944, abs=5e-5)
        asked = len(server.requests)
        assert hub.resolve("org/llama-GGUF:q4_k_m", endpoint=server.url).shipped == spec.shipped
        assert hub.resolve("org/llama-GGUF/Llama-3.1-8B-Q4_K_M.gguf", endpoint=server.url).shipped == spec.shipped
        assert len(server.requests) == asked
        assert all("range" in headers for _, path, headers in server.requests if path.endswith(".gguf"))
        with pytest.raises(ModelNotFound, match=r"There are: Llama-3\.1-8B-Q4_K_M\.gguf, Llama-3\.1-8B-Q8_0"):
            hub.resolve("org/llama-GGUF:Q2_K", endpoint=server.url)


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """A fresh cache for every test."""
    monkeypatch.setenv("SWEETSPOT_DATA", str(tmp_path / "kept"))


def test_parts_of_a_split_file_add_up(tmp_path):
    table = list(llama_table())
    for number, (metadata, part) in enumerate(((llama_metadata(), table[:9]), ({"split.no": 1}, table[9:])), start=1):
        (tmp_path / f"m-Q4_K_M-{number:05d}-of-00002.gguf").write_bytes(gguf(metadata, part))
    spec = hub.resolve(str(tmp_path / "m-Q4_K_M-00001-of-00002.gguf"))
    assert spec.shipped.weight_bytes == expected_bytes(table)
    assert spec.notes == ()


def test_tied_embeddings_and_experts():
    tied = read(gguf(llama_metadata(), list(llama_table(tied=True))))
    assert config_of(tied)["tie_word_embeddings"] is True
    mixture = read(gguf(llama_metadata(**{"llama.expert_count": 8, "llama.expert_used_count": 2}), list(llama_table())))
    config = config_of(mixture)
    assert (config["model_type"], config["num_local_experts"], config["num_experts_per_tok"]) == ("mixtral", 8, 2)


@pytest.mark.parametrize(("file_type", "kind", "name"), [
    (15, "Q4_K", "gguf-Q4_K_M"), (7, "Q8_0", "gguf-Q8_0"), (1, "F16", "fp16"), (32, "BF16", "bf16"),
    (38, "MXFP4", "mxfp4"), (27, "IQ3_S", "gguf-IQ3_M"), (999, "Q8_0", "gguf-Q8_0")])
def test_formats_of_files(file_type, kind, name):
    body = gguf(llama_metadata(**{"general.file_type": file_type}), list(llama_table(kind=kind, layers=9)))
    assert format_of(read(body)) == name


def test_unknown_architectures_are_named():
    with pytest.raises(ArchitectureUnknown, match="'martian'"):
        config_of(read(gguf({"general.architecture": "martian"})))
    with pytest.raises(CheckpointInvalid, match="names no architecture"):
        config_of(read(gguf({"x": 1})))
    with pytest.raises(ArchitectureUnknown, match=r"attention\.head_count_kv"):
        config_of(read(gguf(llama_metadata(**{"llama.attention.head_count_kv": [2, 4]}))))


def head(tensors=0, keys=1, version=3):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def nested(depth):
    return struct.pack("<IQ", 9, 1) * depth


HOSTILE = {
    "empty": b"",
    "wrong magic": b"GGML" + bytes(100),
    "big-endian": b"GGUF" + struct.pack(">I", 3) + bytes(100),
    "version 1": head(version=1) + bytes(100),
    "2^63 tensors": head(2**63, 0),
    "10^6 tensors": head(10**6, 0) + bytes(100),
    "2^60 keys": head(0, 2**60),
    "key of 2^60 bytes": head() + struct.pack("<Q", 2**60),
    "string of 2^60 bytes": head() + text("k") + struct.pack("<IQ", 8, 2**60),
    "array of 2^60": head() + text("k") + struct.pack("<IIQ", 9, 4, 2**60),
    "array of strings, one of 2^60 bytes": head() + text("k") + struct.pack("<IIQQ", 9, 8, 5, 2**60),
    "arrays in arrays": head() + text("k") + struct.pack("<I", 9) + nested(100_000),
    "unknown type": head() + text("k") + struct.pack("<II", 99, 0),
    "same key twice": head(0, 2) + item("k", 1) + item("k", 2),
    "cut short": MODEL[: len(gguf(llama_metadata(), list(llama_table()), padded=False)) - 5],
    "tensors beyond the end": gguf(llama_metadata(), list(llama_table()), padded=False),
    "unknown tensor type": head(1, 0) + text("t") + struct.pack("<IQIQ", 1, 32, 77, 0),
    "2^31 dimensions": head(1, 0) + text("t") + struct.pack("<I", 2**31),
    "overlap": head(2, 0) + text("a") + struct.pack("<IQIQ", 1, 64, 0, 0)
    + text("b") + struct.pack("<IQIQ", 1, 64, 0, 4) + bytes(1000),
    "huge shape": head(1, 0) + text("t") + struct.pack("<I4QIQ", 4, *[2**62] * 4, 0, 0),
    "half a block": head(1, 0) + text("t") + struct.pack("<IQIQ", 1, 100, 12, 0) + bytes(1000),
    "alignment of zero": gguf({"general.alignment": 0}),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_end_in_one_sentence(body):
    with pytest.raises(CheckpointInvalid) as error:
        read(body)
    assert str(error.value).count("\n") == 0
    assert len(str(error.value)) < 200


def test_a_long_vocabulary_is_walked_not_kept():
    """262,144 tokens and as many merges, as Gemma 3 has: nothing is kept but the length."""
    words = [f"token{i}" for i in range(262_144)]
    body = gguf({"general.architecture": "llama", "tokenizer.ggml.tokens": words, "tokenizer.ggml.merges": words})
    header = read(body)
    assert header.lengths["tokenizer.ggml.tokens"] == 262_144
    assert "tokenizer.ggml.tokens" not in header.metadata


@given(st.binary(max_size=200), st.integers(0, len(MODEL) - 1), st.integers(0, 255))
def test_any_bytes_read_or_are_refused(noise, at, byte):
    for body in (noise, b"GGUF\3\0\0\0" + noise, MODEL[:at] + bytes([byte]) + MODEL[at + 1 :], MODEL[:at]):
        try:
            header = read(body)
            config_of(header)
            read_gguf_model(header, header.tensors, "x")
        except SweetspotError as error:
            assert "\n" not in str(error)
