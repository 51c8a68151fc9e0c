"""CLIP's tokenizer and text tower, from the open_clip package."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor, nn

from unlearn_ray.core.errors import DataError, listed

Activation = Literal["gelu", "quick_gelu"]


class TextTower(nn.Module):
    """open_clip's text transformer with its projection.

    Attention is causal, and the end token's output represents the caption: so padding after it
    changes nothing, and rows of tokens may be shorter than the context.

    Args:
        embedding_size: of the projection.
        context_length: of the longest caption, including start and end token.
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

    def forward(self, tokens: Int[Tensor, "n length"]) -> Float[Tensor, "n embedding"]:
        """Unnormalised embeddings of captions."""
        parts, length = self.transformer, tokens.shape[1]
        hidden = parts.token_embedding(tokens) + parts.positional_embedding[:length]
        hidden = parts.transformer(hidden, attn_mask=parts.attn_mask[:length, :length])
        # The end token has the largest id.
        rows = torch.arange(tokens.shape[0], device=tokens.device)
        ends = hidden[rows, tokens.argmax(dim=1)]
        return cast(Tensor, parts.ln_final(ends) @ parts.text_projection)


def tokenise(
    captions: Sequence[str], context_length: int, *, truncate: bool = False
) -> Int32[Tensor, "n context"]:
    """CLIP's byte-pair tokens between start and end token, padded with zeros.

    Args:
        captions: of one or more images.
        context_length: of a row, including start and end token.
        truncate: cut longer captions, as open_clip does: the end token replaces the last token
            that fits.

    Raises:
        DataError: captions are empty, longer than the context, or contain a special token; it
            counts them all.
    """
    # As int32, COCO's 590,000 captions of 77 tokens take 180 MB.
    rows = torch.zeros(len(captions), context_length, dtype=torch.int32)
    refused = _Refused()
    for row, caption in zip(rows, captions, strict=True):
        tokens = _tokens(caption, refused)
        if len(tokens) > context_length and truncate:
            tokens = [*tokens[: context_length - 1], tokens[-1]]
        if len(tokens) > context_length:
            refused.long.append((len(tokens), caption))
        else:
            row[: len(tokens)] = torch.tensor(tokens)
    refused.check(context_length)
    return rows


def _tokens(caption: str, refused: _Refused) -> list[int]:
    tokenizer = _tokenizer()
    begin, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    words: list[int] = tokenizer.encode(caption)
    if not words:
        refused.empty.append(caption)
    if begin in words or end in words:
        refused.marked.append(caption)
    return [begin, *words, end]


@dataclass
class _Refused:
    """Captions that cannot be tokenised, by reason; with the number of tokens if too long."""

    empty: list[str] = field(default_factory=list)
    marked: list[str] = field(default_factory=list)
    long: list[tuple[int, str]] = field(default_factory=list)

    def check(self, context_length: int) -> None:
        reasons: list[str] = []
        remedies: list[str] = []
        # The counts of all reasons must fit into a message.
        one = sum(map(bool, (self.empty, self.marked, self.long))) == 1
        quoted = partial(_quoted, most=5 if one else 2, longest=40 if one else 28)
        if self.empty:
            reasons.append(f"{len(self.empty):,} empty, or without any token: {quoted(self.empty)}")
            remedies.append("write them, or remove them from the dataset")
        if self.marked:
            reasons.append(
                f"{len(self.marked):,} with a special token of the tokenizer, <start_of_text> or "
                f"<end_of_text>: {quoted(self.marked)}"
            )
            remedies.append("remove the special tokens")
        if self.long:
            longest = max(length for length, _ in self.long)
            reasons.append(
                f"{len(self.long):,} longer than the context of {context_length} tokens, start and "
                f"end token included, the longest has {longest:,}: "
                f"{quoted(caption for _, caption in self.long)}"
            )
            remedies.append(
                "shorten them, raise the family's context_length, or set its truncate to true, "
                "which cuts them as open_clip does"
            )
        if reasons:
            raise DataError("captions", "; ".join(reasons), "; ".join(remedies))


def _quoted(captions: Iterable[str], most: int, longest: int) -> str:
    # A broken dataset may have a whole page as a caption.
    short = (text if len(text) <= longest else f"{text[: longest - 3]}..." for text in captions)
    return listed(map(repr, short), most)


@cache
def _tokenizer() -> Any:
    from unlearn_ray.core.open_clip_import import open_clip

    return open_clip.SimpleTokenizer()
