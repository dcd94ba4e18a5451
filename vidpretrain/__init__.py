# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Train video networks from image networks.

```python
model, variables = vidpretrain.load("runs/demo")
logits = model.apply(variables, clips, train=False)  # clips [B, T, H, W, C], normalised
```
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flax import linen as nn

    from vidpretrain.convert.folder import Card

__version__ = "0.1.0"
__all__ = ["__version__", "load", "read_card"]


def load(
    path: str | os.PathLike[str],
    which: str | int = "latest",
    *,
    ema: bool | None = None,
    network: str | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Open a checkpoint: the network and its weights, without the config that made them.

    Args:
        path: a checkpoint's folder, a folder of steps, a stage's folder, or a working folder with
            one stage; or a `.safetensors`, `.npz` or `.pth`; local or remote (`gs://...`).
        which: of several steps: `latest`, `best`, or a step's number.
        ema: whether to take the moving averages in place of the weights as trained; None takes
            them where training kept them.
        network: which network a file of another codebase holds, `NAME[:option=value,...]`.

    Returns:
        The network and its variables (`params`, `batch_stats`; NumPy arrays);
        `model.apply(variables, clips, train=False)` gives logits `[B, num_classes]`. `read_card`
        tells the normalisation that the clips need.

    Raises:
        vidpretrain.convert.CheckpointError: there is no sound checkpoint at `path`.
        vidpretrain.convert.MismatchError: the file holds another network.
    """
    # Imported here, for `import vidpretrain` must cost next to nothing.
    from vidpretrain.convert.transfer import open_model

    return open_model(path, which, ema=ema, network=network)


def read_card(path: str | os.PathLike[str], which: str | int = "latest") -> Card:
    """Read the card of a checkpoint: network, classes, normalisation, step, metrics.

    Args:
        path: as in `load`.
        which: as in `load`.

    Raises:
        vidpretrain.convert.CheckpointError: there is no sound checkpoint at `path`, or no card.
    """
    from vidpretrain.convert.source import find_card

    return find_card(path, which)
