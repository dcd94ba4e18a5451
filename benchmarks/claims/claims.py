# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The papers' claims, and which trainings of the protocol each is about."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a claim's table.

    Attributes:
        training: its name in the protocol.
        label: what it is called in the table.
        paper: what the paper reports, where it has such a row; top-1 in percent.
        against: the training that it is compared with; empty for that of the claim's first row.
    """

    training: str
    label: str
    paper: str = ""
    against: str = ""


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a paper says, and the trainings that show it in miniature.

    Attributes:
        title: of table and chart.
        tables: where the paper says it.
        data: what the numbers are the test accuracy on.
        rows: of the table.
        paper_column: what the paper's figures are.
        chance: accuracy of guessing, percent.
    """

    title: str
    tables: str
    data: str
    rows: tuple[Row, ...]
    paper_column: str = ""
    chance: float = 2.5


_CLIPS = "moving digits, 40 classes"

CLAIMS = {
    "budget": Claim(
        "Pre-training on images against training from scratch, equal numbers of images",
        "STS, Tables 4, 6, 7",
        _CLIPS,
        (
            Row("plain_scratch", "plain, from scratch", "58.4"),
            Row("plain_center", "plain, pre-trained", "61.6"),
            Row("sts_scratch", "STS, from scratch"),
            Row("sts_center", "STS, pre-trained", "62.7", against="sts_scratch"),
        ),
        "SlowOnly on SSv2 (Table 4)",
    ),
    "init": Claim(
        "What temporal taps start from",
        "STS, Table 9",
        _CLIPS,
        (
            Row("plain_center", "plain, centre", "61.6"),
            Row("plain_average", "plain, average", "61.8"),
            Row("plain_rates", "plain, rates 1/9, 1/3, 1/9"),
            Row("sts_center", "STS, centre", "62.7"),
            Row("sts_average", "STS, average", "62.6", against="sts_center"),
        ),
        "R50-3x1x1 on SSv2",
    ),
    "sts": Claim(
        "STS against plain, by what saw the images",
        "STS, Tables 4, 10",
        _CLIPS,
        (
            Row("plain_center", "plain; images seen by the image twin"),
            Row("sts_center", "STS 1:1; images seen by the image twin"),
            Row(
                "sts_axis",
                "STS 1:1, static=axis; images seen by the image twin",
                against="sts_center",
            ),
            Row("sts_on_plain", "plain; images seen by itself"),
            Row("sts_on_1to1", "STS 1:1; images seen by itself", against="sts_on_plain"),
            Row("sts_on_1to2", "STS 1:2; images seen by itself", against="sts_on_plain"),
            Row("sts_on_2to1", "STS 2:1; images seen by itself", against="sts_on_plain"),
            Row(
                "sts_on_unsplit",
                "STS without splitting; images seen by itself",
                against="sts_on_plain",
            ),
        ),
    ),
    "splitting": Claim(
        "Accuracy on images of what STS pre-trains",
        "STS, Table 10",
        "still digits, 10 classes",
        (
            Row("stills_sts_1to1", "STS 1:1", "77.1"),
            Row("stills_sts_unsplit", "STS without splitting", "76.6"),
            Row("stills_sts_1to2", "STS 1:2"),
            Row("stills_sts_2to1", "STS 2:1"),
            Row("stills_sts_plain", "plain"),
            Row("stills", "image twin"),
        ),
        "ImageNet",
        chance=10.0,
    ),
    "probe": Claim(
        "Linear probes of the 2D networks cut out of a 3D network from scratch",
        "STS, Table 1",
        "still digits, 10 classes",
        (
            Row("probe_t2", "t2, the centre", "45.1"),
            Row("probe_t1", "t1", "18.3"),
            Row("probe_t3", "t3", "17.6"),
        ),
        "SlowOnly-50 on ImageNet",
        chance=10.0,
    ),
    "motion": Claim(
        "Who sees motion, where nothing else tells classes",
        "STH, Table 2; CT, Table 2a",
        "moving digits, 4 motions",
        (
            Row("motion_tsn", "TSN (frames alone)", "19.7"),
            Row("motion_tsm", "TSM"),
            Row("motion_sts", "STS (SlowOnly)"),
            Row("motion_r2plus1d", "(2+1)D", "42.7"),
            Row("motion_sth", "STH", "46.8"),
            Row("motion_ct", "CT", "50.1"),
        ),
        "SSv1, 8 frames",
        chance=25.0,
    ),
    "hybrid": Claim(
        "How STH arranges its kernels",
        "STH, Tables 6 to 8",
        _CLIPS,
        (
            Row("sth_merge", "merge", "45.9"),
            Row("sth", "hybrid", "46.8"),
            Row("sth_attention", "hybrid + attention", "47.8"),
            Row("r2plus1d", "(2+1)D", "42.7"),
        ),
        "SSv1, 8 frames",
    ),
    "tensor": Claim(
        "Sub-dimensions and kernel sizes of CT",
        "CT, Table 2",
        _CLIPS,
        (
            Row("ct", "K = 2, kernels 3, 3"),
            Row("ct_dims1", "K = 1"),
            Row("ct_dims3", "K = 3"),
            Row("ct_kernels13", "kernels 1, 3"),
            Row("ct_kernels55", "kernels 5, 5"),
        ),
    ),
}
