"""The variant that was measured, as a compressed-tensors checkpoint to deploy: written whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.basics.errors import QualityError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from core.quality.variants import Variant

_PARTIAL: Final = ".partial"        # ends the name of a folder that is being written


def check_folder(save: str, variants: tuple[Variant, ...]) -> None:
    """Raises QualityError where a checkpoint would take the place of something."""
    for variant in variants if save else ():
        if variant.can_be_saved and (Path(save) / variant.name).exists():
            raise QualityError(f"'{Path(save) / variant.name}' exists already: name another folder to save in.")


def saved(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, save: str, variant: Variant) -> Path:
    """Writes model and tokenizer to a new folder of `save`; where it lies while it is being tried.

    Raises QualityError where it cannot be written.
    """
    folder = Path(save) / (variant.name + _PARTIAL)
    try:
        folder.mkdir(parents=True)
        model.save_pretrained(folder, save_compressed=True)
        tokenizer.save_pretrained(folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise QualityError(f"the checkpoint could not be written to '{save}' ({error.strerror})") from None
    return folder


def read_back(folder: Path, model: PreTrainedModel) -> PreTrainedModel:
    """What an engine would find in the folder, on the device and in the dtype of `model`."""
    from transformers import AutoModelForCausalLM

    read: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=model.dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    read.to(model.device)
    return read.eval()


def kept(folder: Path) -> Path:
    """Gives a checkpoint that was tried its name."""
    return folder.rename(folder.with_suffix(""))


def discarded(save: str) -> None:
    """Removes what was being written when a check ended early."""
    for folder in Path(save).glob(f"*{_PARTIAL}") if save else ():
        shutil.rmtree(folder, ignore_errors=True)
