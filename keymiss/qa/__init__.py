"""Extractive question answering with a BERT-like model: what stands before and behind the forward pass.

`encode` makes the model's inputs of a question and a paragraph that was tokenised earlier, `spans` finds
the answer in its outputs, `metric` scores answers. Nothing here needs torch or numpy, so that functions on
a shard start fast.
"""

from keymiss.qa.encode import Encoder, Pieces, QuestionTooLong, Seal, Window
from keymiss.qa.spans import NO_ANSWER, Answer, answer_of, best_span

__all__ = [
    "NO_ANSWER",
    "Answer",
    "Encoder",
    "Pieces",
    "QuestionTooLong",
    "Seal",
    "Window",
    "answer_of",
    "best_span",
]
