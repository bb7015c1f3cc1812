"""Scales moved between norms and matrices leave a small Gemma the same, by the real llm-compressor."""

from copy import deepcopy
from functools import cache

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3nTextConfig,
    Gemma3TextConfig,
    Olmo2Config,
    PreTrainedTokenizerFast,
)

from core.basics.errors import QualityError
from core.quality import VARIANTS, smoothing
from core.quality.make import make
from core.quality.variants import Means

SIZES = {
    "vocab_size": 128, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 256,
}
LOUD, FAINT = 2.0, 2.0**-4     # factors of a norm's first 4 channels and of the others: both offsets are exact in BF16
SMOOTHED = ("input_layernorm.weight", "pre_feedforward_layernorm.weight")


@pytest.fixture(scope="module")
def gemma():
    """Two layers of random weights behind norms of LOUD and FAINT channels: what smoothing is for."""
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(Gemma3TextConfig(**SIZES)).eval()
    with torch.no_grad():
        for path, module in model.named_modules():
            if path.endswith(("input_layernorm", "pre_feedforward_layernorm")):
                module.weight.fill_(FAINT - 1)
                module.weight[:4] = LOUD - 1
    return model


@pytest.fixture(scope="module")
def texts():
    torch.manual_seed(1)
    return [torch.randint(0, SIZES["vocab_size"], (1, 64)) for _ in range(4)]


@pytest.fixture(scope="module")
def changed(gemma, texts, tmp_path_factory):
    """Makes the model into a variant in 16 bits: its KL in nats over texts it was not made on, and what it became."""
    held_out, folder = torch.randint(0, SIZES["vocab_size"], (8, 64)), tmp_path_factory.mktemp("made")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a")))

    @cache
    def change(variant):
        made = deepcopy(gemma)
        make(VARIANTS[variant], made, Means(texts, tokenizer, folder))
        with torch.inference_mode():
            exact, other = (model(held_out).logits.float().log_softmax(-1) for model in (gemma, made))
        return float((exact.exp() * (exact - other)).sum(-1).mean()), made

    return change


@pytest.mark.parametrize(("variant", "most"), [("w8a8-smooth", 0.05), ("awq-g32", 0.58)])
def test_scales_go_where_the_norm_is_what_the_matrices_read(changed, variant, most):
    """Scaled at a norm that other matrices read, W8A8 strays over 5 times as far as plain INT4. AWQ strays half as
    far as that, and two thirds where q, k and v are not scaled."""
    assert changed(variant)[0] < most * changed("int4-rtn-g32")[0]


@pytest.mark.parametrize("variant", ["w8a8-smooth", "awq-g32"])
def test_a_norm_that_multiplies_by_1_and_its_weight_keeps_its_digits(gemma, changed, variant):
    """A factor of 1/2 or more leaves BF16 seven of its eight digits; unscaled ones stay as they are."""
    made = dict(changed(variant)[1].named_parameters())
    scaled = 0
    for path, before in gemma.named_parameters():
        if path.endswith(SMOOTHED) and not torch.equal(made[path].float(), before):
            scaled += 1
            assert (1 + made[path].float()).min() >= 0.499
        elif "norm" in path:
            assert torch.equal(made[path].float(), before)
    assert scaled == len(SMOOTHED) * SIZES["num_hidden_layers"]


@pytest.mark.parametrize(("config", "makers", "says"), [
    (Olmo2Config, [smoothing.smoothquant], "needs a norm before the matrices"),
    (Gemma3nTextConfig, [smoothing.smoothquant, smoothing.awq], "that leave Gemma3nForCausalLM the same"),
])
def test_where_no_norm_can_take_the_scales_it_is_refused(config, makers, says):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config(**SIZES | {"num_hidden_layers": 20}))
    for maker in makers:
        with pytest.raises(QualityError, match=says):
            maker(model)
