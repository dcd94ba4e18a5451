# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Decoding of video files: exactly the frames that are asked for, and no more work than that.

`scan` reads the packets of a file, without decoding them, and notes how many frames it has and
where its key frames are. `decode` then seeks to the last key frame before the first wanted frame,
reads packets until every frame up to the last wanted one is among them, and decodes those. A
frame's position is the rank of its presentation time, so variable frame rates need no care, and a
frame that nothing refers to and nobody wants is not decoded at all.

FFmpeg is given bytes and never a path or an address, and told which container to expect (found
by the first bytes), so that a playlist with a video's name opens nothing.

Note:
    AVI stores no presentation times. There, and where times are missing or repeated, frames are
    counted as the decoder gives them, from the beginning.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import av
import av.video.frame
import av.video.reformatter
import numpy as np

from vidpretrain.data.bad_input import Fault
from vidpretrain.data.picture import shrunk_size

MAX_PIXELS = 4096 * 2304
"""Greatest frame that is decoded: 4K. Decoders keep up to 17 such frames."""
MAX_DECODED_PIXELS = 3_000_000_000
"""Most pixels that may be decoded for one clip: 34,000 frames of 340 x 256, some seconds' work."""

_REORDER_FRAMES = 32
"""More than any codec lets decoding and presentation order differ (H.264, HEVC: 16)."""
_AVI = "avi"
_INTRA = av.video.frame.PictureType.I
# By these the demuxer's header describes the codec, so FFmpeg need not decode to find it out.
_SELF_DESCRIBING = ("mov", "matroska")


class VideoError(ValueError):
    """A video that cannot be used.

    Attributes:
        fault: The kind of fault.
    """

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


@dataclasses.dataclass(frozen=True)
class VideoIndex:
    """What is known of a video before it is decoded.

    Attributes:
        num_frames: Number of frames.
        height: Of the stored frames, in pixels, before any turn.
        width: Of the stored frames, in pixels, before any turn.
        key_frames: Positions of the frames where decoding can begin, increasing. The first is 0.
        key_times: Their presentation times, in the stream's units; empty where frames have no
            times and decoding always begins at the beginning.
    """

    num_frames: int
    height: int
    width: int
    key_frames: tuple[int, ...]
    key_times: tuple[int, ...]


def container_of(head: bytes) -> str:
    """Return FFmpeg's name of the container that a file begins as.

    Args:
        head: At least the first 600 bytes, or the whole file.

    Raises:
        VideoError: They are the beginning of none of the containers that are read.
    """
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"):
        return "mov"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _AVI
    if head[:4] == b"FLV\x01":
        return "flv"
    if head[:4] == b"\x00\x00\x01\xba":
        return "mpeg"
    if head[:16] == bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"):
        return "asf"
    if head[:4] == b"OggS":
        return "ogg"
    for packet_bytes, first in ((188, 0), (192, 4)):
        if head[first::packet_bytes][:3] == b"\x47" * 3:
            return "mpegts"
    raise VideoError(
        Fault.UNKNOWN_FORMAT,
        f"it begins with {head[:12]!r}, like none of mp4/mov, webm/mkv, avi, flv, mpeg, ts, wmv, "
        "ogv; rename or convert it",
    )


def scan(file: BinaryIO) -> VideoIndex:
    """Find out what a video has, from its packets.

    Args:
        file: Open for reading, at any place.

    Raises:
        VideoError: It is no video, has no frame, is cut short, or its frames are too large.
    """
    with _opened(file) as (container, stream):
        _check_size(stream)
        packets = [
            (packet.pts, packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.size and _is_shown(packet)
        ]
        if not packets:
            raise VideoError(Fault.NO_FRAMES, "its video stream has no frame")
        # The header's count is exact in mp4 alone, and 0 where it has none.
        if container.format.name.startswith("mov") and len(packets) < stream.frames * 0.99:
            raise VideoError(
                Fault.TRUNCATED,
                f"its header says {stream.frames} frames, but only {len(packets)} are there",
            )
        height, width = stream.codec_context.height, stream.codec_context.width
        times = [time for time, _ in packets if time is not None]
        timed = container.format.name != _AVI and len(set(times)) == len(packets)
    if not timed:
        return VideoIndex(_count_decoded(file), height, width, (0,), ())
    keys = sorted(time for time, is_key in packets if is_key)
    if not keys:
        raise VideoError(Fault.UNDECODABLE, "it has no key frame")
    # What comes before the first key frame cannot be decoded.
    times = sorted(time for time in times if time >= keys[0])
    key_frames = tuple(bisect.bisect_left(times, key) for key in keys)
    return VideoIndex(len(times), height, width, key_frames, tuple(keys))


def read_durations(file: BinaryIO) -> tuple[float, float | None]:
    """Compare how long a video lasts with how long it says that it does.

    Args:
        file: Open for reading, at any place.

    Returns:
        Seconds from the first to the end of the last packet, and what the header says of the
        stream or the file, None if nothing.

    Raises:
        VideoError: It is no video.
    """
    with _opened(file) as (container, stream):
        header_sec = None
        if stream.duration is not None:
            header_sec = float(stream.duration * stream.time_base)
        elif container.duration is not None and len(container.streams) == 1:
            header_sec = container.duration / av.time_base
        times = [packet.dts for packet in container.demux(stream) if packet.dts is not None]
        count = len(times)
        if count < 2:
            return 0.0, None
        span = (max(times) - min(times)) * count / (count - 1)
        return float(span * stream.time_base), header_sec


def decode(
    file: BinaryIO,
    index: VideoIndex,
    wanted: Sequence[int] | np.ndarray,
    *,
    short_side_px: int = 0,
) -> np.ndarray:
    """Decode frames of a video.

    Args:
        file: Open for reading, at any place.
        index: What `scan` found in it.
        wanted: Positions of frames, from 0 to `num_frames - 1`, in any order.
        short_side_px: Frames whose shorter side is longer than this are shrunk to it; 0 for
            frames as they are stored.

    Returns:
        uint8 `[T, H, W, 3]`, RGB, turned as the file says, in the order of `wanted`.

    Raises:
        VideoError: A frame cannot be decoded, or would take too much work.
        IndexError: There is no such frame.
    """
    positions, places = np.unique(np.asarray(wanted, np.int64), return_inverse=True)
    if positions[0] < 0 or positions[-1] >= index.num_frames:
        raise IndexError(f"Frames {list(wanted)} asked of a video of {index.num_frames}.")
    groups = _by_key_frame(index, positions.tolist())
    _check_work(index, groups)
    painter = _Painter(short_side_px)
    if index.key_times:
        with contextlib.suppress(VideoError), _opened(file) as (container, stream):
            frames = _decode_groups(container, stream, index, groups, painter)
            if len(frames) == len(positions):
                return np.stack([frames[at] for at in positions.tolist()])[places]
    # Seeking or header did not lead there. It takes longer from the beginning, but it is sure.
    with _opened(file, careful=True) as (container, stream):
        frames = _decode_from_start(container, stream, index, set(positions.tolist()), painter)
    missing = [at for at in positions.tolist() if at not in frames]
    if missing:
        raise VideoError(
            Fault.UNDECODABLE, f"frame {missing[0]} of {index.num_frames} cannot be decoded"
        )
    return np.stack([frames[at] for at in positions.tolist()])[places]


@contextlib.contextmanager
def _opened(file: BinaryIO, *, careful: bool = False) -> Iterator[tuple[Any, Any]]:
    """Open a file's first video stream; errors of FFmpeg become ours.

    Args:
        file: Open for reading.
        careful: Let FFmpeg decode some frames first, to learn what headers leave out.
    """
    try:
        file.seek(0)
        name = container_of(file.read(600))
        file.seek(0)
        options = {}
        if name in _SELF_DESCRIBING and not careful:
            # FFmpeg decodes a frame of every stream when it opens a file, which is as long as to
            # decode the key frame again. It does not where its own decoders are not allowed;
            # ours are opened later, and are not concerned.
            options["codec_whitelist"] = "none"
        with av.open(
            file, "r", format=name, container_options=options, metadata_errors="replace"
        ) as container:
            streams = [s for s in container.streams.video if not _is_cover(s)]
            if not streams:
                raise VideoError(Fault.NO_VIDEO, "it has no video stream")
            stream = streams[0]
            if stream.codec_context is None:
                raise VideoError(Fault.UNDECODABLE, "there is no decoder for its codec")
            stream.codec_context.thread_count = 1
            stream.codec_context.thread_type = "NONE"
            yield container, stream
    except VideoError:
        raise
    except (av.FFmpegError, OSError, ValueError, LookupError, MemoryError, RuntimeError) as error:
        raise VideoError(Fault.UNDECODABLE, f"FFmpeg says: {error}") from error


def _is_cover(stream: Any) -> bool:
    """Return whether a stream is a still picture attached to the file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _check_size(stream: Any) -> None:
    height, width = stream.codec_context.height, stream.codec_context.width
    if height * width > MAX_PIXELS:
        raise VideoError(
            Fault.TOO_LARGE,
            f"its frames are {width} x {height}; at most {MAX_PIXELS} pixels are decoded, so "
            "scale it down first",
        )


def _is_shown(packet: Any) -> bool:
    """Return whether a packet becomes a frame that is shown.

    VP8 has packets that are only referred to ("alternate references"), and mp4's edit lists cut
    frames away.
    """
    if packet.is_discard:
        return False
    if packet.stream.codec_context.name in ("vp8", "libvpx"):
        return bool(bytes(packet)[0] & 0x10)
    return True


def _count_decoded(file: BinaryIO) -> int:
    with _opened(file, careful=True) as (container, stream):
        count = sum(1 for _ in _decoded(container, stream))
    if not count:
        raise VideoError(Fault.NO_FRAMES, "none of its frames can be decoded")
    return count


def _by_key_frame(index: VideoIndex, positions: list[int]) -> list[tuple[int, list[int]]]:
    """Return the wanted positions with the number of the key frame that each needs."""
    return [
        (key, list(group))
        for key, group in itertools.groupby(
            positions, lambda at: bisect.bisect_right(index.key_frames, at) - 1
        )
    ]


def _check_work(index: VideoIndex, groups: list[tuple[int, list[int]]]) -> None:
    frames = sum(group[-1] - index.key_frames[key] + 1 for key, group in groups)
    if frames * index.height * index.width > MAX_DECODED_PIXELS:
        raise VideoError(
            Fault.TOO_LARGE,
            f"{frames} frames of {index.width} x {index.height} would have to be decoded for one "
            "clip; pack it with more key frames first",
        )


def _decode_groups(
    container: Any,
    stream: Any,
    index: VideoIndex,
    groups: list[tuple[int, list[int]]],
    painter: _Painter,
) -> dict[int, np.ndarray]:
    frames: dict[int, np.ndarray] = {}
    for key, group in groups:
        key_time, key_frame = index.key_times[key], index.key_frames[key]
        if key or len(groups) > 1:
            container.seek(key_time, stream=stream, backward=True)
        packets, times = _packets_until(container, stream, key_time, group[-1] - key_frame)
        if len(times) <= group[-1] - key_frame:
            return frames
        position_at = {times[at - key_frame]: at for at in group}
        wanted = {key_time, *position_at}
        # Some encoders mark frames as key frames from which the picture only begins to build up.
        is_sound = key == 0
        for frame in _decode_packets(stream.codec_context, packets, wanted):
            is_sound |= frame.pts == key_time and frame.pict_type == _INTRA
            if not is_sound:
                return frames
            if frame.pts in position_at:
                frames[position_at[frame.pts]] = painter(frame)
    return frames


def _packets_until(
    container: Any, stream: Any, key_time: int, rank: int
) -> tuple[list[Any], list[int]]:
    """Read packets from a key frame on, until the frame of a rank is surely among them.

    Returns:
        The packets in decoding order, and the presentation times of the frames shown from the
        key frame on, increasing.
    """
    packets: list[Any] = []
    times: list[int] = []
    for packet in container.demux(stream):
        if not packet.size:
            break
        # Seeking may stop at an earlier key frame. Frames that are shown before the key frame,
        # but stored behind it, refer to what was not decoded.
        if packet.pts is None or packet.pts < key_time:
            continue
        packets.append(packet)
        if _is_shown(packet):
            bisect.insort(times, packet.pts)
        if len(times) > rank and packet.dts is not None and packet.dts > times[rank]:
            break
        if len(times) > rank + _REORDER_FRAMES:
            break
    if not packets or packets[0].pts != key_time:
        return [], []
    return packets, times


def _decode_packets(decoder: Any, packets: list[Any], wanted: set[int]) -> Iterator[Any]:
    """Decode packets, and yield the frames at the wanted times."""
    for packet in [*packets, None]:
        # A frame that no other refers to is decoded only if it is wanted itself.
        decoder.skip_frame = "DEFAULT" if packet is None or packet.pts in wanted else "NONREF"
        for frame in decoder.decode(packet):
            if frame.pts in wanted:
                yield _checked(frame)


def _decode_from_start(
    container: Any, stream: Any, index: VideoIndex, wanted: set[int], painter: _Painter
) -> dict[int, np.ndarray]:
    last = max(wanted)
    frames: dict[int, np.ndarray] = {}
    shown = _decoded(container, stream)
    if index.key_times:
        shown = (frame for frame in shown if frame.pts >= index.key_times[0])
    for position, frame in enumerate(shown):
        if position in wanted:
            frames[position] = painter(_checked(frame))
        if position == last:
            break
    return frames


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    for packet in container.demux(stream):
        yield from packet.decode()


def _checked(frame: Any) -> Any:
    if frame.is_corrupt:
        raise VideoError(Fault.UNDECODABLE, "a frame is marked as corrupt")
    if frame.height * frame.width > MAX_PIXELS:
        raise VideoError(Fault.TOO_LARGE, f"a frame is {frame.width} x {frame.height}")
    return frame


class _Painter:
    """Makes RGB arrays of decoded frames, all of the first one's size."""

    def __init__(self, short_side_px: int) -> None:
        self._short_side_px = short_side_px
        # One for all frames: it keeps its tables, which take longer to make than a frame.
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._size: tuple[int, int] | None = None

    def __call__(self, frame: Any) -> np.ndarray:
        """Return uint8 `[H, W, 3]`, turned upright."""
        if self._size is None:
            self._size = shrunk_size(frame.height, frame.width, self._short_side_px)
        height, width = self._size
        same = (height, width) == (frame.height, frame.width)
        rgb = self._reformatter.reformat(
            frame,
            height=height,
            width=width,
            format="rgb24",
            interpolation="BILINEAR" if same else "AREA",
            threads=1,
        ).to_ndarray()
        return np.rot90(rgb, round(frame.rotation / 90)) if frame.rotation else rgb
