# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.launch.stage import Stage


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)
