# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The end of an error message about a name that does not exist; every room may use it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 60


def closest(word: str, allowed: Iterable[str]) -> str:
    """Return "did you mean 'cosine'? allowed: constant, cosine, linear".

    Args:
        word: What was given.
        allowed: What may be given; beyond sixty names, only the first are listed.
    """
    names = list(allowed)
    match = difflib.get_close_matches(word, names, n=1)
    guess = f"did you mean {match[0]!r}? " if match else ""
    more = f", and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"{guess}allowed: {', '.join(names[:_MOST]) or 'none'}{more}"
