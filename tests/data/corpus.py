# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""A corpus of bad inputs: files, and what lists say of files, that a data set may hold.

Every case says whether it must be refused ("bad"), must be read ("good"), or may go either way
("either": flipped bits may leave a file whole). Nothing of `outside` may ever be read, and nothing
may connect to `address`.
"""

from __future__ import annotations

import dataclasses
import io
import os
import struct
import zlib
from pathlib import Path

import av
import cv2
import numpy as np

from vidpretrain.data.encode import encode_jpeg, encode_video
from vidpretrain.data.video import MAX_PIXELS

CONTAINERS = ("mp4", "webm", "avi", "mkv")


@dataclasses.dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        kind: Group that the table counts by.
        path: What the list says.
        expected: "good", "bad" or "either".
        reader: "video", or "folder" for a folder of pictures.
    """

    kind: str
    path: str
    expected: str
    reader: str = "video"


def clip(frames: int = 8, height: int = 32, width: int = 48) -> np.ndarray:
    """Return a clip with something in it, uint8 `[T, H, W, 3]`."""
    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 256, (height + frames, width + frames, 3), np.uint8)
    canvas = cv2.GaussianBlur(canvas, (0, 0), 2)
    return np.stack([canvas[i : i + height, i : i + width] for i in range(frames)])


class Corpus:
    """Writes files below `root` and remembers the cases."""

    def __init__(self, folder: Path, address: str) -> None:
        self.root = folder / "root"
        self.outside = folder / "outside"
        self.root.mkdir(parents=True)
        self.outside.mkdir()
        self.address = address
        self.cases: list[Case] = []
        self.whole = {ext: encode_video(clip(), extension=ext) for ext in CONTAINERS}
        self.secret = self.outside / "secret.mp4"
        self.secret.write_bytes(self.whole["mp4"])
        for add in (
            self._whole,
            self._truncated,
            self._flipped,
            self._overwritten,
            self._no_video,
            self._streams,
            self._sizes,
            self._tables,
            self._playlists,
            self._paths,
            self._names,
            self._pictures,
        ):
            add()

    def _file(self, kind: str, name: str, data: bytes, expected: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.cases.append(Case(kind, name, expected))
        return path

    def _whole(self) -> None:
        for ext, data in self.whole.items():
            self._file("whole", f"whole.{ext}", data, "good")
            for wrong in ("mp4", "avi", "txt", ""):
                if wrong != ext:
                    self._file("wrong extension", f"{ext}_as.{wrong}", data, "good")

    def _truncated(self) -> None:
        front = front_index(self.whole["mp4"])
        self._file("whole", "front.mp4", front, "good")
        for ext, data in {**self.whole, "front.mp4": front}.items():
            for tenth in range(10):
                cut = data[: len(data) * tenth // 10 + (tenth == 0)]
                # Only mp4 says how many frames there should be.
                expected = "bad" if "mp4" in ext or tenth == 0 else "either"
                self._file("truncated", f"cut{tenth}.{ext}", cut, expected)

    def _flipped(self) -> None:
        for ext, data in self.whole.items():
            for seed in range(12):
                rng = np.random.default_rng(seed)
                bits = bytearray(data)
                # A few anywhere, or many in the header.
                span = len(bits) if seed % 2 else min(len(bits), 400)
                for _ in range(3 if seed % 2 else 10):
                    bits[rng.integers(span)] ^= 1 << rng.integers(8)
                self._file("bit flips", f"flip{seed}.{ext}", bytes(bits), "either")

    def _overwritten(self) -> None:
        for ext, data in self.whole.items():
            for part in range(5):
                start = len(data) * part // 5
                hole = data[:start] + bytes(len(data) // 5) + data[start + len(data) // 5 :]
                self._file("overwritten", f"zeros{part}.{ext}", hole, "either")
            noise = np.random.default_rng(1).integers(0, 256, 3000, np.uint8).tobytes()
            self._file("overwritten", f"noise_behind.{ext}", data[:64] + noise, "bad")

    def _no_video(self) -> None:
        html = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
        for ext in ("mp4", "webm", "avi", "mkv", "ts", "mpg"):
            self._file("empty", f"empty.{ext}", b"", "bad")
            self._file("HTML", f"html.{ext}", html, "bad")
            self._file("zeros", f"all_zeros.{ext}", bytes(5000), "bad")
        self._file("text", "text.mp4", b"ftyp is what this says", "bad")
        self.cases += [
            Case("missing", "nowhere.mp4", "bad"),
            Case("missing", "no/where/at/all.mp4", "bad"),
        ]
        (self.root / "folder.mp4").mkdir()
        self.cases.append(Case("folder", "folder.mp4", "bad"))
        self.cases.append(Case("folder", ".", "bad"))
        os.mkfifo(self.root / "pipe.mp4")
        self.cases.append(Case("pipe", "pipe.mp4", "bad"))
        if os.geteuid():  # Root may read everything.
            self._file("no permission", "secret.mp4", self.whole["mp4"], "bad").chmod(0)

    def _streams(self) -> None:
        for ext, form, codec in (
            ("m4a", "mp4", "aac"),
            ("mka", "matroska", "libopus"),
            ("ogg", "ogg", "libopus"),
            ("avi", "avi", "pcm_s16le"),
        ):
            self._file("audio only", f"audio.{ext}", audio(form, codec), "bad")
        for ext, form in (("mp4", "mp4"), ("mkv", "matroska")):
            self._file("0 frames", f"no_frame.{ext}", no_frames(form), "bad")
        for ext in CONTAINERS:
            self._file("1 frame", f"one.{ext}", encode_video(clip(1), extension=ext), "good")
        for turn in (90, 180, 270):
            self._file(
                "rotated", f"turned{turn}.mp4", encode_video(clip(), rotation_deg=turn), "good"
            )
        for ext in ("mp4", "webm", "mkv"):
            times = [0, 1, 2, 40, 41, 300, 301, 999]
            data = encode_video(clip(), extension=ext, times=times)
            self._file("variable rate", f"variable.{ext}", data, "good")

    def _sizes(self) -> None:
        fast = {"deadline": "realtime", "cpu-used": "8"}
        for height, width in ((1, 1), (3, 5), (17, 33), (2, 400), (400, 2), (31, 47)):
            data = encode_video(clip(2, height, width), extension="webm", options=fast)
            self._file("odd size", f"size{height}x{width}.webm", data, "good")
        for height, width in ((17, 33), (31, 47)):
            data = encode_video(clip(4, height, width))
            self._file("odd size", f"odd{height}x{width}.mp4", data, "good")
        for height, width in ((8000, 4000), (2000, 4000)):
            flat = np.zeros((1, height, width, 3), np.uint8)
            expected = "bad" if height * width > MAX_PIXELS else "good"
            for ext in ("avi", "mkv"):
                data = encode_video(flat, extension=ext, codec="mpeg4")
                self._file("video bomb", f"bomb{height}x{width}.{ext}", data, expected)

    def _tables(self) -> None:
        """Sample tables that claim what is not there."""
        data = self.whole["mp4"]
        for box in (b"stsz", b"stts", b"stsc", b"stco", b"ctts", b"stss"):
            at = data.find(box)
            for value in (0, 0x7FFFFFFF, 0xFFFFFFFF):
                # The count is behind the name, version and flags (and a size, in stsz).
                place = at + (12 if box == b"stsz" else 8)
                patched = data[:place] + struct.pack(">I", value) + data[place + 4 :]
                self._file("false tables", f"{box.decode()}{value}.mp4", patched, "either")
        at = data.find(b"stsz") + 8
        constant = data[:at] + struct.pack(">II", 1, 0x7FFFFFFF) + data[at + 8 :]
        self._file("false tables", "two_billion_samples.mp4", constant, "bad")
        at = data.find(b"avc1") + 28
        for width, height in ((0, 0), (65535, 65535)):
            patched = data[:at] + struct.pack(">HH", width, height) + data[at + 4 :]
            self._file("false tables", f"claims{width}.mp4", patched, "either")

    def _playlists(self) -> None:
        url, path = f"http://{self.address}/secret.mp4", str(self.secret)
        for target, name in ((url, "url"), (path, "path"), ("../outside/secret.mp4", "relative")):
            xml = 'xmlns:x="http://www.w3.org/1999/xlink"'
            for kind, text in {
                "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST",
                "m3u": f"#EXTM3U\n{target}\n",
                "concat": f"ffconcat version 1.0\nfile '{target}'\n",
                "pls": f"[playlist]\nFile1={target}\nNumberOfEntries=1\n",
                "sdp": f"v=0\nc=IN IP4 {self.address}\nm=video 5004 RTP/AVP 96\na=control:{target}",
                "mpd": f'<?xml version="1.0"?><MPD><BaseURL>{target}</BaseURL></MPD>',
                "asx": f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
                "svg": f'<svg {xml}><image x:href="{target}"/></svg>',
            }.items():
                self._file("playlist", f"{kind}_{name}.mp4", text.encode(), "bad")
        moov = data_reference(self.whole["mp4"], path)
        self._file("playlist", "reference.mp4", moov, "either")

    def _paths(self) -> None:
        for name in (
            f"http://{self.address}/secret.mp4",
            f"https://{self.address}/secret.mp4",
            f"tcp://{self.address}",
            f"rtsp://{self.address}/x",
            f"udp://{self.address}",
            f"concat:{self.secret}|{self.secret}",
            f"file:{self.secret}",
            f"file://{self.secret}",
            f"subfile,,start,0,end,0,,:{self.secret}",
            f"cache:{self.secret}",
            "pipe:0",
            "fd:0",
            "data:video/mp4;base64,AAAA",
            "lavfi:testsrc",
            "-",
        ):
            self.cases.append(Case("URL as entry", name, "bad"))
        for name in (
            "../outside/secret.mp4",
            "./../outside/secret.mp4",
            "a/../../outside/secret.mp4",
            str(self.secret),
            f"/{self.secret}",
            "/etc/passwd",
            "/dev/zero",
            "/proc/self/mem",
            "..",
            "/",
            "",
            "whole.mp4\0.txt",
            "a" * 5000 + ".mp4",
            "../root_too/secret.mp4",
        ):
            self.cases.append(Case("path escapes", name, "bad"))
        beside = self.root.with_name("root_too")
        beside.mkdir()
        (beside / "secret.mp4").write_bytes(self.whole["mp4"])
        (self.root / "link.mp4").symlink_to(self.secret)
        (self.root / "chain.mp4").symlink_to("link.mp4")
        (self.root / "linked").symlink_to(self.outside)
        (self.root / "loop.mp4").symlink_to("loop.mp4")
        (self.root / "dangling.mp4").symlink_to("nothing.mp4")
        for name in ("link.mp4", "chain.mp4", "linked/secret.mp4", "loop.mp4", "dangling.mp4"):
            self.cases.append(Case("symbolic link", name, "bad"))
        (self.root / "within.mp4").symlink_to("whole.mp4")
        self.cases.append(Case("symbolic link", "within.mp4", "good"))
        self.cases.append(Case("path within", str(self.root / "whole.mp4"), "good"))
        self.cases.append(Case("path within", "nowhere/../whole.mp4", "good"))

    def _names(self) -> None:
        for name in (
            "a b.mp4", " lead.mp4", "it's.mp4", '"quoted".mp4', "comma,comma.mp4", "tab\tab.mp4",
            "new\nline.mp4", "日本.mp4", "café.mp4", "%d.mp4", "{id}.mp4", "semi;colon.mp4",
            "star*.mp4", "#hash.mp4", "-dash.mp4", "$(touch x).mp4",
        ):  # fmt: skip
            self._file("name", name, self.whole["mp4"], "good")

    def _pictures(self) -> None:
        picture = clip(1)[0]
        jpeg = encode_jpeg(picture)
        png = cv2.imencode(".png", picture)[1].tobytes()
        webp = cv2.imencode(".webp", picture)[1].tobytes()
        for name, data in (("jpg", jpeg), ("png", png), ("webp", webp)):
            self._folder("whole", f"p_{name}", name, data, "good")
            for tenth in range(10):
                cut = data[: len(data) * tenth // 10]
                self._folder("truncated", f"p_cut{tenth}_{name}", name, cut,
                             "bad" if name == "jpg" or tenth < 5 else "either")  # fmt: skip
            for seed in range(5):
                rng = np.random.default_rng(seed)
                bits = bytearray(data)
                for _ in range(5):
                    bits[rng.integers(len(bits))] ^= 1 << rng.integers(8)
                self._folder("bit flips", f"p_flip{seed}_{name}", name, bytes(bits), "either")
        wide = picture.astype(np.uint16) * 257
        gray = picture[..., 0]
        alpha = np.dstack([picture, gray])
        for name, data in {
            "gray.jpg": cv2.imencode(".jpg", gray)[1].tobytes(),
            "cmyk.jpg": cmyk_jpeg(),
            "rgba.png": cv2.imencode(".png", alpha)[1].tobytes(),
            "16bit.png": cv2.imencode(".png", wide)[1].tobytes(),
            "gray16.png": cv2.imencode(".png", wide[..., 0])[1].tobytes(),
            "plain.bmp": cv2.imencode(".bmp", picture)[1].tobytes(),
            "tiny.png": cv2.imencode(".png", picture[:1, :1])[1].tobytes(),
        }.items():
            stem, ext = name.split(".")
            self._folder("gray, CMYK, RGBA, 16 bit", f"p_{stem}", ext, data, "good")
        for side in (20_000, 60_000):
            self._folder("image bomb", f"p_bomb{side}_png", "png", png_of_size(side), "bad")
            claimed = jpeg.replace(struct.pack(">HH", 32, 48), struct.pack(">HH", side, side))
            self._folder("image bomb", f"p_bomb{side}_jpg", "jpg", claimed, "bad")
        self._folder("HTML", "p_html", "jpg", b"<html>404</html>", "bad")
        self._folder("HTML", "p_svg", "jpg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "bad")
        (self.root / "p_none").mkdir()
        self.cases.append(Case("0 frames", "p_none", "bad", "folder"))
        self.cases.append(Case("missing", "p_nowhere", "bad", "folder"))
        self.cases.append(Case("path escapes", "../outside", "bad", "folder"))
        linked = self.root / "p_linked"
        linked.mkdir()
        (self.outside / "secret.jpg").write_bytes(jpeg)
        (linked / "1.jpg").symlink_to(self.outside / "secret.jpg")
        self.cases.append(Case("symbolic link", "p_linked", "bad", "folder"))

    def _folder(self, kind: str, name: str, ext: str, data: bytes, expected: str) -> None:
        folder = self.root / name
        folder.mkdir()
        (folder / f"00001.{ext}").write_bytes(data)
        self.cases.append(Case(kind, name, expected, "folder"))


def front_index(mp4: bytes) -> bytes:
    """Return an mp4 file whose index is before its frames, so that a cut leaves the index."""
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(mp4)) as source,
        av.open(buffer, "w", format="mp4", container_options={"moov_size": "4000"}) as sink,
    ):
        stream = source.streams.video[0]
        copy = sink.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                sink.mux(packet)
    return buffer.getvalue()


def audio(form: str, codec: str) -> bytes:
    """Return a file with sound and no picture."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream = container.add_stream(codec, rate=48000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 4800 * 2), np.int16), format="s16", layout="stereo"
        )
        frame.rate = 48000
        resampler = av.AudioResampler(stream.format, stream.layout, 48000, stream.frame_size or 960)
        for part in resampler.resample(frame):
            part.pts = None
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def no_frames(form: str) -> bytes:
    """Return a file with a video stream and no frame in it."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.start_encoding()
    return buffer.getvalue()


def data_reference(mp4: bytes, path: str) -> bytes:
    """Return an mp4 file that says its frames are in another file."""
    at = mp4.find(b"url \0\0\0\1")
    return mp4[: at + 7] + b"\0" + mp4[at + 8 :] + path.encode()


def png_of_size(side: int) -> bytes:
    """Return a small PNG that unpacks to a black square of any size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    packer = zlib.compressobj(9)
    packed = packer.compress(bytes(1 << 20)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    magic = b"\x89PNG\r\n\x1a\n"
    return magic + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def cmyk_jpeg() -> bytes:
    """Return a JPEG with four inks."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("CMYK", (48, 32), (10, 200, 30, 40)).save(buffer, "jpeg")
    return buffer.getvalue()
