"""CLIP's text side: captions to tokens, tokens to embeddings; both by the open_clip package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unlearn_ray.core.errors import DataError

Activation = Literal["gelu", "quick_gelu"]


class TextTower(nn.Module):
    """open_clip's text transformer with its projection.

    A token sees those before it alone, and the end mark stands for the caption: so what is
    padded behind it changes nothing, and rows of tokens may be shorter than the context.

    Args:
        embedding_size: of the projection.
        context_length: of the longest caption, with both marks.
        width, heads, layers: of the transformer.
        activation: of its hidden layers.
    """

    def __init__(
        self,
        *,
        embedding_size: int,
        context_length: int,
        width: int,
        heads: int,
        layers: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        # Planning a sweep imports this module; open_clip takes seconds.
        import unlearn_ray.core.open_clip_import  # noqa: F401

        # isort: split
        from open_clip.transformer import QuickGELU, TextTransformer

        self.transformer: Any = TextTransformer(
            context_length=context_length,
            vocab_size=_tokenizer().vocab_size,
            width=width,
            heads=heads,
            layers=layers,
            output_dim=embedding_size,
            act_layer=QuickGELU if activation == "quick_gelu" else nn.GELU,
        )

    def forward(self, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n embedding"]:
        """Embeddings of captions, not normalised."""
        parts, length = self.transformer, tokens.shape[1]
        hidden = parts.token_embedding(tokens) + parts.positional_embedding[:length]
        hidden = parts.transformer(hidden, attn_mask=parts.attn_mask[:length, :length])
        # Of all tokens, the end mark has the largest number.
        rows = torch.arange(tokens.shape[0], device=tokens.device)
        ends = hidden[rows, tokens.argmax(dim=1)]
        return cast(Tensor, parts.ln_final(ends) @ parts.text_projection)


def tokenise(captions: Sequence[str], context_length: int) -> Int64[Tensor, "n context"]:
    """CLIP's byte pairs between its marks, padded with zeros.

    Raises:
        DataError: a caption is empty, longer than the context, or holds a mark.
    """
    rows = torch.zeros(len(captions), context_length, dtype=torch.int64)
    for row, caption in zip(rows, captions, strict=True):
        tokens = _tokens(caption, context_length)
        row[: len(tokens)] = torch.tensor(tokens)
    return rows


def _tokens(caption: str, context_length: int) -> list[int]:
    tokenizer = _tokenizer()
    begin, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    words: list[int] = tokenizer.encode(caption)
    # A broken data set may have a whole page in the place of a caption.
    subject = f"caption {caption[:80]!r}{'...' if len(caption) > 80 else ''}"
    if not words:
        raise DataError(subject, "is empty", "write a caption, or remove it from the dataset")
    if begin in words or end in words:
        raise DataError(
            subject, "holds a mark of the tokenizer, <start_of_text> or <end_of_text>", "remove it"
        )
    if len(words) + 2 > context_length:
        raise DataError(
            subject,
            f"has {len(words)} tokens and two marks; the context length is {context_length}",
            "shorten the caption, or raise the family's context_length",
        )
    return [begin, *words, end]


@cache
def _tokenizer() -> Any:
    from unlearn_ray.core.open_clip_import import open_clip

    return open_clip.SimpleTokenizer()
