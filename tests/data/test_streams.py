# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Named random streams."""

import pytest

from vidpretrain.data.streams import generator


def test_equal_arguments_give_equal_numbers():
    assert (generator("a", 1, 2).random(4) == generator("a", 1, 2).random(4)).all()


@pytest.mark.parametrize(
    ("stream", "key"), [("b", (1, 2)), ("a", (2, 1)), ("a", (1, 2, 0)), ("a", (1, 2 + 2**32))]
)
def test_name_and_every_part_of_the_key_count(stream, key):
    assert (generator(stream, *key).random(4) != generator("a", 1, 2).random(4)).all()


def test_negative_keys_are_refused():
    with pytest.raises(ValueError, match=r"stream 'a' is \(1, -2\)"):
        generator("a", 1, -2)
