# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading clips of videos, beside decord and torchcodec, on the same files and frames.

    python -m venv /tmp/bench && /tmp/bench/bin/pip install -r benchmarks/requirements-bench.txt
    /tmp/bench/bin/python -m benchmarks.video_input [--videos 16] [--runs 5] [--out FILE.md]
    /tmp/bench/bin/python -m benchmarks.video_input --memory 20000

Every reader gets the same files (340 x 256 pixels, H.264, 10 s) and the same frames, and returns
RGB bytes of 8 frames. All use one thread. A run goes through all readers before the next begins,
and the median of the runs counts. Time is the processor's, so that other programs do not count;
the files are in the disk's cache. The floor is FFmpeg decoding the frames that are needed, in
files that are open already, without conversion to RGB. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np

from vidpretrain.data import make_source
from vidpretrain.data.bench import write_synthetic
from vidpretrain.data.clips import ListedClips, VideoReader
from vidpretrain.data.index import make_index
from vidpretrain.data.packed import Encoding, Storage, packed_videos
from vidpretrain.data.packing import Plan, pack
from vidpretrain.data.sampling import DenseWindow, Sampling, Segments
from vidpretrain.data.streams import generator

SAMPLINGS: dict[str, Sampling] = {"8 x 8 window": DenseWindow(8, 8), "8 segments": Segments(8)}
FLOOR = "floor: decoding alone"
OURS = "vidpretrain, indexed"
_CLIPS_A_VIDEO = 3

Clip = tuple[int, np.ndarray]
"""A video's number and the frames that are wanted of it."""


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", type=int, default=0, help="clips to watch the memory over")
    parser.add_argument("--out", type=Path, help="write the tables there too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        videos = write_synthetic(root, num_videos=args.videos, pictures=False)
        if args.memory:
            print(memory_report(indexed(videos), args.memory))
            return
        pictures = write_synthetic(root, num_videos=args.videos, pictures=True)
        report = speed_report(root, videos, pictures, args.videos, args.runs)
    print(report)
    if args.out:
        args.out.write_text(report)


def speed_report(root: Path, videos: Path, pictures: Path, num_videos: int, runs: int) -> str:
    """Return tables of clips a second."""
    source, folders = indexed(videos), make_source("frames", split="train", train=str(pictures))
    packed = {storage: pack_all(source, root / storage, storage) for storage in Storage}
    paths = [str(videos.parent / path) for path in source.paths]
    lines = [
        "# Reading clips of videos",
        "",
        f"{num_videos} videos of 340 x 256 pixels, H.264, 10 s; {_CLIPS_A_VIDEO} clips of 8 frames "
        f"of each; one thread, processor time; medians of {runs} runs. Python "
        f"{platform.python_version()}, PyAV {av.__version__}, {platform.machine()}.",
        "",
        "`python -m benchmarks.video_input`; ratio: our clips/s over the reader's.",
    ]
    for title, sampling in SAMPLINGS.items():
        clips = draw_clips(sampling, source)
        readers: dict[str, Callable[[Clip], np.ndarray | None]] = {
            OURS: lambda clip: source.frames(*clip),
            **peers(paths),
            FLOOR: DecodingAlone(source),
            "vidpretrain, packed as video": lambda clip: packed[Storage.VIDEO].frames(*clip),
            "vidpretrain, JPEG frames": lambda clip: folders.frames(*clip),
            "vidpretrain, packed as JPEG": lambda clip: packed[Storage.JPEG].frames(*clip),
        }
        check_alike(readers, clips[0])
        speeds = measure(readers, clips, runs)
        lines += [
            "",
            f"## {title}",
            "",
            "| reader | clips/s | spread | ratio |",
            "|---|---|---|---|",
        ]
        ours = statistics.median(speeds[OURS])
        for name, values in speeds.items():
            middle = statistics.median(values)
            spread = f"{min(values):.1f} to {max(values):.1f}"
            lines.append(f"| {name} | {middle:.1f} | {spread} | {ours / middle:.2f} |")
    return "\n".join(lines) + "\n"


def indexed(videos: Path) -> ListedClips:
    """Return the source of a list, with the index that training would have."""
    source = make_source("videos", split="train", train=str(videos))
    facts = [VideoReader().scan(source.root, path) for path in source.paths]
    return ListedClips(**{**vars(source), "index": make_index(facts)})


def pack_all(source: ListedClips, out: Path, storage: Storage):
    """Pack a source with the settings that `data pack` has by itself."""
    plan = Plan("train", source.paths, source.class_names, Encoding(storage), {})
    pack(source, plan, out, shards=range(plan.num_shards), num_workers=0)
    return packed_videos("train", folder=str(out))


def draw_clips(sampling: Sampling, source: ListedClips) -> list[Clip]:
    """Choose frames of every video, the same for all readers."""
    return [
        (video, sampling.draw(source.num_frames(video), generator("clips", video, number)))
        for number in range(_CLIPS_A_VIDEO)
        for video in range(len(source))
    ]


def peers(paths: Sequence[str]) -> dict[str, Callable[[Clip], np.ndarray]]:
    """Return the peers that are installed, each in its quickest way that is exact here."""
    readers: dict[str, Callable[[Clip], np.ndarray]] = {}
    if importlib.util.find_spec("decord"):
        import decord

        def read_decord(clip: Clip) -> np.ndarray:
            reader = decord.VideoReader(paths[clip[0]], num_threads=1)
            return reader.get_batch(clip[1].tolist()).asnumpy()

        readers[f"decord {decord.__version__}"] = read_decord
    if importlib.util.find_spec("torchcodec"):
        import torch
        import torchcodec.decoders

        torch.set_num_threads(1)

        def reader_of(mode: str) -> Callable[[Clip], np.ndarray]:
            def read(clip: Clip) -> np.ndarray:
                decoder = torchcodec.decoders.VideoDecoder(
                    paths[clip[0]],
                    num_ffmpeg_threads=1,
                    seek_mode=mode,
                    dimension_order="NHWC",
                )
                return decoder.get_frames_at(clip[1].tolist()).data.numpy()

            return read

        for mode in ("approximate", "exact"):
            readers[f"torchcodec {torchcodec.__version__}, {mode}"] = reader_of(mode)
    return readers


class DecodingAlone:
    """Decodes what clips need, in files that are open already, and converts nothing."""

    def __init__(self, source: ListedClips) -> None:
        self._indexes = [source.file_facts(video).video for video in range(len(source))]
        self._containers = [av.open(str(source.root / path)) for path in source.paths]
        for container in self._containers:
            container.streams.video[0].codec_context.thread_count = 1
            container.streams.video[0].codec_context.thread_type = "NONE"

    def __call__(self, clip: Clip) -> None:
        """Decode from the key frame before each group of frames to the last of the group."""
        video, indices = clip
        index, container = self._indexes[video], self._containers[video]
        stream, keys = container.streams.video[0], np.array(self._indexes[video].key_frames)
        before = np.searchsorted(keys, indices, side="right") - 1
        for key in np.unique(before):
            wanted = indices[before == key]
            container.seek(index.key_times[key], stream=stream)
            # Frames are one tick apart from a key frame on: these files have a constant rate.
            tick = int(1 / (stream.average_rate * stream.time_base))
            times = {index.key_times[key] + int(at - keys[key]) * tick for at in wanted}
            for packet in container.demux(stream):
                # A frame that no other refers to is decoded only if it is wanted itself.
                stream.codec_context.skip_frame = "DEFAULT" if packet.pts in times else "NONREF"
                times -= {frame.pts for frame in packet.decode()}
                if not times:
                    break


def check_alike(readers: dict[str, Callable[[Clip], np.ndarray | None]], clip: Clip) -> None:
    """Raise if a reader returns other frames than ours; small differences are rounding."""
    ours = readers[OURS](clip)
    for name, read in readers.items():
        found = read(clip)
        if found is None:
            continue
        difference = np.abs(found.astype(int) - ours).mean()
        if found.shape != ours.shape or difference > 8:
            raise AssertionError(f"{name}: {found.shape}, mean difference {difference:.1f}")


def measure(
    readers: dict[str, Callable[[Clip], np.ndarray | None]], clips: Sequence[Clip], runs: int
) -> dict[str, list[float]]:
    """Return clips a second of every reader in every run."""
    speeds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(runs):
        for name, read in readers.items():
            start = time.process_time()
            for clip in clips:
                read(clip)
            speeds[name].append(len(clips) / (time.process_time() - start))
    return speeds


def memory_report(source: ListedClips, num_clips: int) -> str:
    """Read clips and say by how much the process has grown, after a tenth of them."""
    sampling = DenseWindow(8, 8)
    begun = 0
    for number in range(num_clips):
        video = number % len(source)
        source.frames(video, sampling.draw(source.num_frames(video), generator("clips", number)))
        if number == num_clips // 10:
            begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun
    return (
        f"{num_clips} clips: {begun >> 10} MB after a tenth, {grown / 1024:.1f} MB more at the end"
    )


if __name__ == "__main__":
    main()
