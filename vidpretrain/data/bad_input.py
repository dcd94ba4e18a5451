# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a file, under names that reports and logs share."""

from __future__ import annotations

import enum


class Fault(enum.StrEnum):
    """Why an input cannot be used."""

    MISSING = "missing"
    OUTSIDE_ROOT = "outside root"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    UNKNOWN_FORMAT = "unknown format"
    TRUNCATED = "truncated"
    UNDECODABLE = "undecodable"
    NO_VIDEO = "no video stream"
    NO_FRAMES = "zero frames"
    WRONG_DURATION = "wrong duration"
    TOO_LARGE = "too large"
    CHANGED = "changed since indexed"
    LABEL = "label out of range"
    DUPLICATE = "duplicate"
    CRASHED = "crashed the decoder"
    TIMED_OUT = "took too long"


class BadInput(Exception):
    """A file, or what a list says of it, that cannot be used.

    Every source raises it, and nothing else, for what is wrong with one example. Training then
    takes another example in its place, and tests leave it out and say so.

    Attributes:
        path: What the list calls the file.
        fault: The kind of fault.
        detail: What exactly was found, and what would do.
    """

    def __init__(self, path: str, fault: Fault, detail: str) -> None:
        super().__init__(path, fault, detail)
        self.path = path
        self.fault = fault
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}: {self.detail}"
