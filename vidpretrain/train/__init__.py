# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""State, step, loop, evaluation, checkpoints and metrics of a training."""
