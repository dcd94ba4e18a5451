# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
