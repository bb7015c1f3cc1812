"""Tokenizers rebuilt from GGUF files: one written here, Gemma's own, and the check that a vocabulary is read right."""

import itertools

import pytest
from gguf import GGUFValueType, GGUFWriter, TokenType
from transformers import AutoTokenizer

from core.basics.errors import QualityError
from core.quality.gguf_tokenizer import merges, sentencepiece
from core.quality.load import Source, _reads_its_words, load
from tests.small_model import gemma3_header

SYLLABLES = ["".join(pair) for pair in itertools.product("bdfgklmnprstvz", "aeiou")]
WORDS = ["".join(pair) for pair in itertools.product(SYLLABLES, SYLLABLES[:20])]
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
USER = ["\n", "\n\n", "  "]
PIECES = [*SYLLABLES, *(f"▁{word}" for word in WORDS), *WORDS, "▁", *"bdfgklmnprstvzaeiou."]


def vocabulary(path, **changes):
    """A GGUF without tensors whose SentencePiece vocabulary has a rank for a score, as Gemma's has."""
    kinds = [*[TokenType.CONTROL] * 4, *[TokenType.BYTE] * 256, *[TokenType.USER_DEFINED] * 3,
             *[TokenType.NORMAL] * len(PIECES)]
    writer = GGUFWriter(path, "gemma3")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*SPECIAL, *BYTES, *USER, *PIECES])
    writer.add_token_scores([*[-1000.0] * 263, *(-float(rank) for rank in range(len(PIECES)))])
    writer.add_token_types(kinds)
    said = {f"{name}_token_id": (number, GGUFValueType.UINT32)
            for number, name in enumerate(("padding", "eos", "bos", "unknown"))}
    for name, value in (said | {"add_space_prefix": (False, GGUFValueType.BOOL)} | changes).items():
        writer.add_key_value(f"tokenizer.ggml.{name}", *value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_pieces_are_merged_by_their_scores():
    assert merges({"a": -9.0, "b": -9.0, "c": -9.0, "bc": -1.0, "abc": -2.0, "ab": -3.0}) == [
        ("b", "c"), ("a", "bc"), ("ab", "c"), ("a", "b")]


def test_a_vocabulary_is_read_as_sentencepiece_reads_it(tmp_path):
    """Words whole, spaces in them, what is defined by users first, bytes of what has no piece, the first token."""
    tokenizer = sentencepiece(vocabulary(tmp_path / "words.gguf"))
    text = "bada  kilo.\n\nzu é"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [
        "<bos>", "bada", "  ", "ki", "lo", ".", "\n\n", "zu", "▁", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer("<eos>", add_special_tokens=False)["input_ids"] == [1] and tokenizer.eos_token == "<eos>"
    tokenizer.save_pretrained(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved")(text)["input_ids"] == ids


def test_a_vocabulary_that_is_misread_is_refused(tmp_path, monkeypatch):
    """transformers takes the ranks for log-probabilities and parts every word in its likeliest syllables."""
    file = vocabulary(tmp_path / "words.gguf")
    ours = sentencepiece(file)
    assert ours.tokenize("bada") == ["bada"] and _reads_its_words(ours)
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file=file.name)
    assert theirs.tokenize("bada") == ["ba", "da"] and not _reads_its_words(theirs)
    monkeypatch.setattr("core.quality.load.sentencepiece", lambda file: None)
    with pytest.raises(QualityError, match=r"The tokenizer in 'words' is not read right, so other tokens would be"):
        load(Source("words", tmp_path, file.name), "cpu")


def test_a_damaged_file_is_refused_in_one_sentence(tmp_path):
    whole = vocabulary(tmp_path / "words.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    vocabulary(tmp_path / "odd.gguf", eos_token_id=(10**6, GGUFValueType.UINT32))
    for name in ("cut.gguf", "odd.gguf"):
        with pytest.raises(QualityError, match="cannot load") as raised:
            load(Source(name, tmp_path, name), "cpu")
        assert "\n" not in str(raised.value)


def test_a_space_comes_before_the_text_unless_the_file_says_otherwise(tmp_path):
    """llama.cpp's defaults for a vocabulary of this kind; Llama's and Mistral's files leave them out."""
    tokenizer = sentencepiece(vocabulary(tmp_path / "words.gguf", add_space_prefix=(True, GGUFValueType.BOOL)))
    ids = tokenizer("bada kilo")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<bos>", "▁bada", "▁", "ki", "lo"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "bada kilo"


def test_gemma_3_is_read_as_it_was_trained():
    """The real vocabulary of 262,144 pieces; plain words are one piece each with the space before them."""
    tokenizer = sentencepiece(gemma3_header())
    assert len(tokenizer) == 262_144 and _reads_its_words(tokenizer)
    text = "The line crosses two mountain passes.\n\n    Zürich 東京 \x01"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [
        "<bos>", "The", "▁line", "▁crosses", "▁two", "▁mountain", "▁passes", ".", "\n\n", "    ", "Z", "ürich",
        "▁東京", "▁", "\x01"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
