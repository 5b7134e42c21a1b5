"""Models of random weights with a small vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, DistilBertConfig


def word_pieces(special: Sequence[str]) -> Tokenizer:
    vocabulary = ["[PAD]", "[UNK]", *special, "who", "measles", "is", "?", "."]
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def tiny(folder: Path, model: torch.nn.Module, special: Sequence[str] = ("[CLS]", "[SEP]")) -> str:
    """A model of random weights with a small vocabulary, as a Hugging Face folder."""
    model.save_pretrained(folder)  # type: ignore[operator]
    word_pieces(special).save(str(folder / "tokenizer.json"))
    return str(folder)


BERT = BertConfig(
    vocab_size=4000, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
)
DISTILBERT = DistilBertConfig(vocab_size=4000, dim=32, n_layers=2, n_heads=2, hidden_dim=64)
