"""What a number format is expected to cost in quality, from published perplexities alone.

A figure exists only where somebody published one for that format: `assets/quality_facts.csv` holds
the perplexity of a model before and after, each row with its source. Between models the loss is
interpolated over format, family and size; where no row names the format, there is no figure.
"""

from core.losses.prior.expected import (
    NO_FIGURE,
    REFERENCE_BITS,
    Row,
    added,
    cache_is_reference,
    expected_loss,
    is_reference,
    table,
)
from core.losses.prior.published import Published, published

__all__ = [
    "NO_FIGURE",
    "REFERENCE_BITS",
    "Published",
    "Row",
    "added",
    "cache_is_reference",
    "expected_loss",
    "is_reference",
    "published",
    "table",
]
