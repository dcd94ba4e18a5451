# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The command `python -m vidpretrain.convert`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vidpretrain import models
from vidpretrain.convert import files, folder, source, tree
from vidpretrain.convert.folder import Card, CheckpointError
from vidpretrain.convert.names import NamesError
from vidpretrain.convert.source import Source, open_source
from vidpretrain.convert.transfer import Target, measure_parity, open_model

_DESCRIPTION = """\
Give a network the weights of another one: a video network those of an image network, a network of
ours those of somebody else's file, or the other way round. Every leaf is accounted for; one that
no rule explains is an error, and nothing is written then.
"""

_EXAMPLES = """\
examples:
  # The best image checkpoint of a run becomes a video network, centre-initialised:
  python -m vidpretrain.convert runs/image/pretrain checkpoints/video --which best \\
      --model slowonly50:conv=sts --classes 174 --frames 8 --size 224
  # A torchvision ResNet-50 becomes one:
  python -m vidpretrain.convert resnet50.pth checkpoints/video --model slowonly50:conv=sts
  # Stage 4 averaged over the taps, the rest by given rates:
  python -m vidpretrain.convert SRC DST --model csn50 --init '1/9,1/3,1/9;stage4=average'
  # The image network in a video network's first tap, for a linear probe:
  python -m vidpretrain.convert runs/video/scratch checkpoints/tap0 --tap 0
  # Weights for mmaction2, and arrays for anybody:
  python -m vidpretrain.convert SRC slowonly.safetensors --to mmaction2
  python -m vidpretrain.convert SRC slowonly.npz
"""

# Of a video network made of an image network.
_DEFAULT_FRAMES = 8
# In the folder, or behind the name of a file.
_REPORT = "report.json"


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.convert",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "src",
        metavar="SRC",
        help="a checkpoint's folder, a run's or stage's folder, or a .safetensors, .npz, .pth, .pt "
        "or .pth.tar; never changed",
    )
    add(
        "dst",
        metavar="DST",
        nargs="?",
        help="a folder to make, or a .safetensors or .npz; must not exist; not needed to --dry-run",
    )
    add(
        "--model",
        metavar="NAME[:option=value,...]",
        help="the network to fill; by default the source's own, or with --tap its image twin",
    )
    add("--classes", type=int, metavar="N", help="number of classes; by default the source's")
    add("--frames", type=int, metavar="N", help="frames of a clip; by default the source's, or 8")
    add("--size", type=int, metavar="PX", help="of a clip; by default the source's, or 224")
    add(
        "--init",
        default="center",
        metavar="INIT",
        help="what a kernel with several temporal taps gets of one with a single tap: center "
        "(default), average, or the factor of each tap (1/9,1/3,1/9); other choices for parts of "
        "the network follow: 'center;stage4=average'",
    )
    add("--tap", type=int, choices=(0, 1, 2), help="cut this tap out of a video network's kernels")
    add("--which", default="latest", help="of several steps: latest (default), best, or a number")
    add(
        "--ema",
        action=argparse.BooleanOptionalAction,
        help="moving averages or weights as trained; by default averages where they were kept",
    )
    add(
        "--from",
        dest="named_by",
        metavar="CODEBASE",
        help="whose names a file has, if that is not found out: "
        + ", ".join(sorted({key.split("/")[0] for key in source.TABLES})),
    )
    add(
        "--to",
        metavar="CODEBASE",
        help="write DST under the names of this codebase (same list as --from)",
    )
    add("--seed", type=int, default=0, help="of what is new, such as another classifier")
    add(
        "--parity",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run the source's network and the filled one on one frame, and print how far their "
        "logits are apart (on by default)",
    )
    add("--dry-run", action="store_true", help="print the report alone; write nothing")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code: 0, or 1 after an error; argparse exits with 2.
    """
    parser = _make_parser()
    options = parser.parse_args(arguments)
    if options.dst is None and not options.dry_run:
        parser.error("say where to write (DST), or --dry-run")
    try:
        _convert(options)
    except (CheckpointError, tree.MismatchError, NamesError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _convert(options: argparse.Namespace) -> None:
    if not options.dry_run:
        _check_destination(options.dst, options.to)
    origin = open_source(
        options.src, which=options.which, ema=options.ema, named_by=options.named_by
    )
    card = _make_card(options, origin)
    target = Target(card.name, card.num_classes, card.clip_shape)
    variables, report = target.fill(origin, init=options.init, tap=options.tap, seed=options.seed)
    print(report.to_text())
    if options.dry_run:
        return
    about = {
        "source": origin.path,
        "source_network": origin.card.name if origin.card else None,
        "network": card.name,
        "init": options.init,
        "tap": options.tap,
        "seed": options.seed,
    }
    _write(options.dst, options.to, variables, card, report.to_json(**about))
    print(f"written: {options.dst}")
    if options.parity and origin.card is not None:
        # What was written, read back: the check is of the whole way.
        written = open_model(options.dst, network=card.name)[1]
        difference = measure_parity(
            origin.card.name, origin.variables, card.name, written, len(card.mean)
        )
        print(f"parity with {origin.card.name} on one frame: {difference:.1e} of the largest logit")


def _check_destination(destination: str, codebase: str | None) -> None:
    folder.refuse_existing(destination)
    folder.refuse_existing(f"{destination}.{_REPORT}")
    if codebase is not None:
        source.table_keys(codebase)
        if not destination.endswith(files.WRITABLE):
            raise ValueError(
                f"{destination}: names of {codebase} go into a file that ends in "
                f"{' or '.join(files.WRITABLE)}."
            )
    elif files.is_file_name(destination) and not destination.endswith(files.WRITABLE):
        raise ValueError(
            f"{destination}: PyTorch's files are read, not written. Write .safetensors, which "
            "safetensors.torch.load_file reads."
        )


def _make_card(options: argparse.Namespace, origin: Source) -> Card:
    """Describe the network to write: what the options say, else what the source has."""
    if origin.card is None and options.model is None:
        raise ValueError(f"{options.src} does not say what network it is: give --model.")
    given = origin.card or Card.imagenet(options.model, origin.num_classes())
    network = options.model or given.name
    if options.tap is not None and options.model is None:
        network = models.image_twin(network)
    is_image = models.parse_spec(network)[1].get("image", False)
    frames = 1 if is_image else given.frames if given.frames > 1 else _DEFAULT_FRAMES
    num_classes = options.classes or given.num_classes
    return Card(
        name=network,
        num_classes=num_classes,
        mean=given.mean,
        std=given.std,
        frames=options.frames or frames,
        size=options.size or given.size,
        dtype=given.dtype,
        class_names=given.class_names if num_classes == given.num_classes else (),
    )


def _write(
    destination: str, codebase: str | None, variables: tree.Nested, card: Card, report: str
) -> None:
    if not files.is_file_name(destination):
        folder.write_checkpoint(destination, variables, card, {_REPORT: report})
        return
    arrays = tree.flatten(variables)
    if codebase is not None:
        arrays = source.rename(variables, codebase, card.name)
    files.write_file(destination, arrays, card)
    folder.as_path(f"{destination}.{_REPORT}").write_text(report)


if __name__ == "__main__":
    sys.exit(main())
