# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Looking at networks and runs: `python -m vidpretrain.analyze COMMAND ...`."""
