# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Weights in and out: checkpoint folders, 2D to 3D, other frameworks' files, export."""
