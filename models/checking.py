"""Whether an exported model does what the eager one does."""

from __future__ import annotations

import numpy as np

from keymiss.qa import Encoder

from .logits import Logits, pad
from .source import ExportError

_TEXTS = (
    ("Who performs viral transmission among adults?", "Adenovirus is spread among adults by close contact."),
    (
        "What is the incubation period of measles?",
        "Measles is an airborne disease which spreads easily from one person to the next through the coughs "
        "and sneezes of infected people. Its incubation period is ten to twelve days, and symptoms usually "
        "last seven to ten days.",
    ),
    ("Why?", "Because."),
)


def check(expected: Logits, exported: Logits, encoder: Encoder, tolerance: float) -> None:
    """ExportError unless both give the same logits for real text: each row alone, all in one padded batch.
    `tolerance` is a fraction of the range that the expected logits have, or of 1 where that is more."""
    rows = []
    for question, text in _TEXTS:
        window = next(encoder.windows(encoder.question(question), encoder.pieces(text)))
        rows.append((window.input_ids, window.token_type_ids))
    for batch in ([rows[0]], [rows[1]], [rows[2]], rows):
        inputs = pad(batch)
        real = inputs[1] == 1
        for want, have in zip(expected(inputs), exported(inputs), strict=True):
            difference = float(np.abs(want - have)[real].max())
            allowed = tolerance * max(1.0, float(np.ptp(want[real])))
            if not difference <= allowed:  # also where it is not a number
                raise ExportError(
                    f"the exported model's logits differ from the eager model's by {difference:.2g} for "
                    f"inputs of shape {inputs[0].shape}; {allowed:.2g} is allowed"
                )
