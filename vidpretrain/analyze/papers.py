# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every countable row of the papers' tables, as data: a network, its input, and the figures.

Figures stay as they are printed, so that their last digit says how exact they are. `printed` is
what a paper or zoo prints; `by_hand` what its formulas give when summed layer by layer under the
counting rule that its authors used, which is what a network of ours must meet.

References:
    STS: Li et al., In Defense of Image Pre-Training for Spatiotemporal Recognition, ECCV 2022.
    STH: Li et al., STH: Spatio-Temporal Hybrid Convolution for Efficient Action Recognition, 2020.
    CT: Li et al., CT-Net: Channel Tensorization Network for Video Classification, ICLR 2021.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Figures:
    """Counts as printed; empty where nothing is printed.

    Attributes:
        gflops: Decimal number of units of 1e9.
        parameters: Number, such as `31,991,022`, or millions, such as `32.0M`.
    """

    gflops: str = ""
    parameters: str = ""

    @classmethod
    def parse(cls, text: str) -> Figures:
        """Read figures from text such as `54.9 / 32.0M`; either or both may be missing."""
        words = [word for word in text.split(" / ") if word]
        parameters = [word for word in words if word.endswith("M") or "," in word]
        gflops = [word for word in words if word not in parameters]
        return cls("".join(gflops), "".join(parameters))

    def __str__(self) -> str:
        return " / ".join(filter(None, (self.gflops, self.parameters)))


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table, and the network and input that it is about.

    Attributes:
        label: What the paper calls it.
        spec: The network, as `make_model` takes it.
        frames: T.
        size: Height and width, pixels.
        classes: Number of classes.
        rule: How its authors counted; a key of `count.RULES`.
        printed: As the paper or zoo prints it.
        by_hand: As its formulas give it.
        note: Where what is printed does not follow from the formulas: what is known of it.
    """

    label: str
    spec: str
    frames: int
    size: int
    classes: int
    rule: str
    printed: Figures
    by_hand: Figures
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows that belong together.

    Attributes:
        title: Paper and table.
        rows: Its rows.
    """

    title: str
    rows: tuple[Row, ...]


# Label, network, frames, printed, by hand, and a note where there is one.
_Entry = tuple[str, str, int, str, str] | tuple[str, str, int, str, str, str]


def _rows(rule: str, size: int, classes: int, *entries: _Entry) -> tuple[Row, ...]:
    """Return rows that share a rule, a frame size and a number of classes."""
    return tuple(
        Row(
            label,
            spec,
            frames,
            size,
            classes,
            rule,
            Figures.parse(printed),
            Figures.parse(by_hand),
            *note,
        )
        for label, spec, frames, printed, by_hand, *note in entries
    )


_STS_TABLE_4 = (
    *_rows(
        "mmcv",
        256,
        174,
        ("SlowOnly-50", "slowonly50", 8, "54.9 / 32.0M", "54.860 / 31,991,022"),
        ("SlowFast-50 4x16", "slowfast50_4x16", 32, "36.4 / 34.0M", "36.441 / 33,958,358"),
        ("R(2+1)D-34", "r2plus1d34", 8, "114.8 / 63.6M", "114.817 / 63,643,343"),
        ("irCSN-50", "csn50", 8, "26.6 / 12.7M", "26.577 / 12,668,078"),
        ("X3D-S", "x3d_s", 8, "3.2 / 3.3M", "3.246 / 3,331,248"),
    ),
    *_rows(
        "fvcore",
        256,
        174,
        ("SlowOnly-50", "slowonly50", 8, "", "54.750"),
        ("SlowFast-50 4x16", "slowfast50_4x16", 32, "", "36.331"),
        ("R(2+1)D-34", "r2plus1d34", 8, "", "114.695"),
        ("irCSN-50", "csn50", 8, "", "26.467"),
        ("X3D-S", "x3d_s", 8, "", "3.199"),
    ),
    *_rows(
        "macs",
        256,
        174,
        ("SlowOnly-50", "slowonly50", 8, "", "54.518"),
        ("SlowFast-50 4x16", "slowfast50_4x16", 32, "", "36.099"),
        ("SlowFast-50 8x8", "slowfast50_8x8", 32, "", "65.708 / 34,044,630"),
        ("R(2+1)D-34", "r2plus1d34", 8, "", "114.466"),
        ("irCSN-50", "csn50", 8, "", "26.235"),
        ("X3D-S", "x3d_s", 8, "", "3.091"),
    ),
)

_STS_400_CLASSES = _rows(
    "macs",
    256,
    400,
    ("SlowOnly-50", "slowonly50", 8, "", "32,454,096"),
    ("SlowFast-50 4x16", "slowfast50_4x16", 32, "", "34,479,288"),
    ("SlowFast-50 8x8", "slowfast50_8x8", 32, "", "34,565,560"),
    ("R(2+1)D-34", "r2plus1d34", 8, "", "63,759,281"),
    ("irCSN-50", "csn50", 8, "", "13,131,152"),
    ("X3D-S", "x3d_s", 8, "", "3,794,322"),
)

_IMAGE_TWINS = _rows(
    "macs",
    224,
    1000,
    ("SlowOnly-50 = ResNet-50", "slowonly50:image=true", 1, "", "4.089 / 25.557M"),
    ("SlowFast-50", "slowfast50_4x16:image=true", 1, "", "4.356 / 27.096M"),
    ("R(2+1)D-34", "r2plus1d34:image=true", 1, "", "9.007 / 53.050M"),
    ("irCSN-50", "csn50:image=true", 1, "", "2.252 / 14.274M"),
    ("X3D-S", "x3d_s:image=true", 1, "", "0.270 / 4.914M"),
)

_STRIDED = "temporal_strides=1+2+2+2"
_OTHER_ZOOS = (
    *_rows(
        "fvcore",
        256,
        400,
        ("mmaction2 SlowOnly-50 4x16", "slowonly50", 4, "27.38", ""),
        ("mmaction2 SlowOnly-50 8x8", "slowonly50", 8, "54.75", ""),
        ("mmaction2 SlowFast-50 4x16", "slowfast50_4x16", 32, "36.3", ""),
        ("mmaction2 SlowFast-50 8x8", "slowfast50_8x8", 32, "66.1", ""),
        ("mmaction2 R(2+1)D-34 8x8", f"r2plus1d34:{_STRIDED}", 8, "53.1 / 63.8M", ""),
        ("mmaction2 R(2+1)D-34 32x2", f"r2plus1d34:{_STRIDED}", 32, "213 / 63.8M", ""),
        ("mmaction2 irCSN-50", f"csn50:{_STRIDED}", 32, "55.90 / 13.13M", ""),
        (
            "mmaction2 irCSN-152",
            f"csn152:{_STRIDED}",
            32,
            "97.63 / 29.70M",
            "",
            "ours is 0.013 more; irCSN-50 and ipCSN-152, counted alike, agree",
        ),
        ("mmaction2 ipCSN-152", f"csn152:mode=ip,{_STRIDED}", 32, "109.9 / 33.02M", ""),
    ),
    *_rows("macs", 160, 400, ("PyTorchVideo X3D-S", "x3d_s", 13, "1.963", "")),
    *_rows(
        "macs",
        224,
        101,
        (
            "SlowFast-50 4x16, norm on laterals",
            "slowfast50_4x16:variant=facebook",
            32,
            "27.63797632 / 33,791,021",
            "",
        ),
    ),
)

_GAP = "the paper's row does not follow from its own formula"
_STH = _rows(
    "mmcv",
    224,
    174,
    ("p = 1/4, hybrid", "sth50", 8, "30.5 / 22.0M", "30.496 / 21,978,350"),
    ("p = 1/4, merge", "sth50:mode=merge", 8, "30.5 / 22.0M", "30.496 / 21,978,350"),
    ("p = 1/4 + attention", "sth50:attention=true", 8, "30.5 / 23.2M", "30.54 / 23,239,598"),
    (
        "(2+1)D sequential",
        "sth50:conv=2plus1d_sequential",
        8,
        "37.9 / 27.6M",
        "37.894 / 27,636,974",
    ),
    ("(2+1)D parallel", "sth50:conv=2plus1d_parallel", 8, "37.9 / 27.6M", "37.894 / 27,636,974"),
    ("p = 0", "sth50:p=0", 8, "33.3 / 24.4M", "32.96 / 23.86M", _GAP),
    ("p = 1/8", "sth50:p=0.125", 8, "32.2 / 23.1M", "31.73 / 22.92M", _GAP),
    ("p = 1/2", "sth50:p=0.5", 8, "28.5 / 20.3M", "28.03 / 20.09M", _GAP),
)

# The CT module alone, as in most of the paper's ablations.
_ALONE = "pointwise=false,excitation=none"
_CT = (
    *_rows(
        "thop",
        256,
        174,
        (
            "TSN baseline",
            "tsn50",
            8,
            "43.0 / 23.9M",
            "42.94 / 23,864,558",
            "the paper prints 43.0 for 42.94",
        ),
        ("CT module", f"ct50:{_ALONE}", 8, "36.3", "36.29 / 20,089,454"),
        ("+ PWConv", "ct50:excitation=none", 8, "37.2", "37.24 / 20,588,270"),
        ("+ PWConv + TE", "ct50", 8, "37.3 / 21.0M", "37.32 / 20,959,150"),
        ("C3D module", "ct50:conv=c3d", 8, "59.9", "59.85"),
        ("R(2+1)D module", "ct50:conv=r2plus1d", 8, "45.8", "45.77"),
        ("CSN module", "ct50:conv=csn", 8, "35.6", "35.60"),
        ("K = 1", f"ct50:dims=1,{_ALONE}", 8, "45.8", "45.77"),
        ("K = 3", f"ct50:dims=3,{_ALONE}", 8, "35.7", "35.71"),
        ("K = 4", f"ct50:dims=4,{_ALONE}", 8, "35.6", "35.59"),
        ("C2 = 1", f"ct50:split=1,{_ALONE}", 8, "45.9", "45.87"),
        ("C2 = 4", f"ct50:split=4,{_ALONE}", 8, "37.6", "37.63"),
        ("C2 = 16", f"ct50:split=16,{_ALONE}", 8, "36.4", "36.39"),
        ("C2 = sqrt(C)", f"ct50:{_ALONE}", 8, "36.3", "36.29"),
        ("+1 block", f"ct50:blocks=1,{_ALONE}", 8, "41.9", "41.89"),
        ("+4 blocks", f"ct50:blocks=4,{_ALONE}", 8, "38.9", "38.88"),
        ("+6 blocks", f"ct50:blocks=6,{_ALONE}", 8, "37.1", "37.08"),
        ("+7 blocks", f"ct50:blocks=7,{_ALONE}", 8, "36.3", "36.29"),
        ("+12 blocks", f"ct50:blocks=12,{_ALONE}", 8, "31.5", "31.53"),
        (
            "kernels (1, 3)",
            f"ct50:kernels=1+3,{_ALONE}",
            8,
            "35.5",
            "35.45",
            "the paper prints 35.5 for 35.446",
        ),
        ("kernels (1, 5)", f"ct50:kernels=1+5,{_ALONE}", 8, "36.6", "36.58"),
        ("kernels (3, 3)", f"ct50:kernels=3+3,{_ALONE}", 8, "36.3", "36.29"),
        ("kernels (3, 5)", f"ct50:kernels=3+5,{_ALONE}", 8, "37.4", "37.42"),
        ("kernels (5, 5)", f"ct50:kernels=5+5,{_ALONE}", 8, "38.9", "38.93"),
        ("12 frames", "ct50", 12, "56", "55.94"),
        ("16 frames", "ct50", 16, "75", "74.56"),
        ("24 frames", "ct50", 24, "112", "111.80"),
    ),
    *_rows("thop", 224, 174, ("224 instead of 256", "ct50", 8, "28.6", "28.57")),
    *_rows(
        "thop",
        256,
        400,
        (
            "R101, released rule",
            "ct101",
            16,
            "145.5",
            "138.5",
            "the released code replaces 11 of the 23 blocks of conv4, the paper's figure needs 7",
        ),
        ("R101, 7 of conv4's 23", "ct101:blocks=11", 16, "145.5", "145.45"),
    ),
    *_rows(
        "thop",
        299,
        174,
        (
            "InceptionV3",
            "ct_inception_v3",
            8,
            "43.9 / 20.9M",
            "",
            "the paper does not say which convolutions are replaced; ours are its middle ones",
        ),
    ),
)

TABLES: tuple[Table, ...] = (
    Table("STS, Table 4", _STS_TABLE_4),
    Table("STS, parameters with 400 classes", _STS_400_CLASSES),
    Table("Image twins (every temporal kernel 1)", _IMAGE_TWINS),
    Table("Other zoos", _OTHER_ZOOS),
    Table("STH, Tables 6 to 8", _STH),
    Table("CT-Net, ablations and results", _CT),
)
