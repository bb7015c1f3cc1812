"""Prompts as people have them: pasted, as files, as chat exports; and what is none, in one sentence."""

import json

import pytest

from core.basics.errors import InputError
from core.quality import read_prompts
from core.quality.prompts import MAX_BYTES, digest, read_file

OPENAI = [{"title": "t", "mapping": {
    "root": {"message": None},
    "a": {"message": {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["Why?"]}}},
    "b": {"message": {"author": {"role": "assistant"}, "content": {"content_type": "text", "parts": ["Because."]}}},
}}]
SHAREGPT = [{"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]}]
MESSAGES = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Why?"}, {"type": "image_url"}]},
                         {"role": "assistant", "content": "Because."}]}
TALK = ("Why?\n\nBecause.",)


@pytest.mark.parametrize(("given", "name", "prompts"), [
    ("one prompt\nof two lines\n", "", ("one prompt\nof two lines",)),
    ("one\n---\ntwo\n\n---\n", "", ("one", "two")),
    (b"\xef\xbb\xbfcaf\xc3\xa9", "notes.txt", ("café",)),
    ("привет".encode("utf-16"), "notes.txt", ("привет",)),
    ('{"prompt": "a"}\n"b"\n\n{"text": "c", "id": 3}\n', "p.jsonl", ("a", "b", "c")),
    ("id,prompt\n1,\"a, b\"\n2,c\n", "p.csv", ("a, b", "c")),
    ("first\nsecond\n", "p.csv", ("first", "second")),
    (json.dumps(["a", {"question": "b"}]), "p.json", ("a", "b")),
    (json.dumps(OPENAI), "conversations.json", TALK),
    (json.dumps(SHAREGPT), "sharegpt.json", TALK),
    (json.dumps(MESSAGES), "chat.json", TALK),
    (json.dumps(MESSAGES["messages"]), "chat.json", TALK),
    (json.dumps(MESSAGES), "chat.jsonl", TALK),
    ('"a\u2028b"\r\n"c"', "p.jsonl", ("a\u2028b", "c")),
])
def test_prompts_are_read(given, name, prompts):
    assert read_prompts(given, name) == prompts


@pytest.mark.parametrize(("given", "name", "says"), [
    ("", "", "no prompts"), (b"", "p.txt", "no prompts"), (" \n\t", "", "no prompts"), ("---\n---", "", "no prompts"),
    (b"\x89PNG\r\n\x1a\n\0\0", "p.txt", "binary"), (b"\xff\xd8\xe0\x00", "p.txt", "binary"),
    (b"PK\x03\x04\0\0", "p.csv", "binary"), (b"x" * (MAX_BYTES + 1), "p.txt", "20 MB is the most"),
    ("{", "p.json", "no JSON"), ("{}\n", "p.jsonl", "Line 1 is neither a text nor a conversation"),
    ("[" * 100_000, "p.json", "no JSON"), ("[]", "p.json", "no prompts"), ("a,b\n1,2", "p.csv", "None of the columns"),
    ('"a"\n{"id": 7}', "p.jsonl", "Line 2 is neither"), ("a\n---\n" * 2001, "", "more than 2,000 prompts"),
    ("word " * 500_000, "", "longer than 2,000,000 characters"), ('prompt\n"a', "p.csv", None),
])
def test_what_holds_no_prompts_is_one_sentence(given, name, says):
    if says is None:                # an open quote at the end: csv closes it
        assert read_prompts(given, name) == ("a",)
        return
    with pytest.raises(InputError, match=says) as raised:
        read_prompts(given, name)
    assert "\n" not in str(raised.value)


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(InputError, match="100 MB; 20 MB is the most"):
        read_file(large)
    with pytest.raises(InputError, match="cannot be read"):
        read_file(tmp_path / "missing.txt")


def test_a_digest_tells_sets_apart():
    assert digest(("a", "b")) == digest(("a", "b")) != digest(("ab",))
