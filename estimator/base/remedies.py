"""What an exception of a model's own code says, and what helps: a shape only where the sizes are at fault."""

from __future__ import annotations

import re

from estimator.base.errors import told

_REMEDIES: tuple[tuple[type[BaseException], str, str], ...] = (
    (Exception, "(?i)bf16|bfloat16", "try --dtype bfloat16."),
    (
        TypeError,
        r"(missing|got an unexpected|takes) .*argument",
        "give every input that forward takes, by its name: --input NAME=3x224x224 --input OTHER=tokens:512.",
    ),
    (
        Exception,
        "(?i)shape|size|dim|channel|expected|match|broadcast|length|range|unpack|elements|rank|index|input|dtype|integer",
        "give one sample's shape with --input, such as --input 3x224x224 or --input tokens:512.",
    ),
    (
        BaseException,
        "",
        "no shape helps: mend it in the model's code, or, if forward takes more than tensors, name a function that "
        "returns (model, example), with what forward is called with.",
    ),
)
"""By the exception's type and the words of its sentence, what helps; the first that fits."""


def said_and_remedy(error: BaseException) -> tuple[str, str]:
    """What `error` says, on one line, and the remedy."""
    sentence = told(error)
    fits = (remedy for kind, words, remedy in _REMEDIES if isinstance(error, kind) and re.search(words, sentence))
    return sentence, next(fits)
