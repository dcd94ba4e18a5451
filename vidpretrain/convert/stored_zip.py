# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Read zip archives of uncompressed members, trusting nothing that they say.

PyTorch's files are such archives. The reader looks at the directory at the end of the archive,
checks every number in it against the size of the file before it is used, and hands out views of
the file's bytes; it extracts and decompresses nothing.

References:
    PKWARE, APPNOTE.TXT - .ZIP File Format Specification 6.3.10, sections 4.3.7, 4.3.12, 4.3.14 to
    4.3.16 and 4.5.3.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib

_END = struct.Struct("<4s4H2IH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")

_MAX_COMMENT_BYTES = 0xFFFF
_MAX_DIRECTORY_BYTES = 4 << 20
_ENCRYPTED = 1


class ZipError(ValueError):
    """The bytes are no archive that can be read safely."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One member of an archive.

    Attributes:
        name: its path in the archive.
        crc: CRC-32 of its bytes, as stored.
        offset: of its local header.
        size: of its bytes.
    """

    name: str
    crc: int
    offset: int
    size: int


def list_members(data: memoryview) -> dict[str, Member]:
    """List the members of an archive by name.

    Args:
        data: the whole file.

    Raises:
        ZipError: it is no archive; it has compressed, encrypted or unsafely named members or too
            many; or sizes that do not fit the file.
    """
    offset, size, count = _find_directory(data)
    if size > _MAX_DIRECTORY_BYTES:
        raise ZipError(
            f"its directory of {count} entries has {size} bytes; {_MAX_DIRECTORY_BYTES} are allowed"
        )
    directory = _slice(data, offset, size)
    members: dict[str, Member] = {}
    position = 0
    while position < size:
        member, position = _read_entry(directory, position)
        if member.name in members:
            raise ZipError(f"two members are named {member.name!r}")
        members[member.name] = member
    if sum(member.size for member in members.values()) > len(data):
        raise ZipError("its members claim more bytes than the file has: a zip bomb")
    return members


def read_member(data: memoryview, member: Member) -> memoryview:
    """Return the bytes of a member, without copying them.

    Raises:
        ZipError: they lie outside the file, or do not have the checksum stored.
    """
    header = _slice(data, member.offset, _LOCAL.size)
    signature, *_, name_bytes, extra_bytes = _LOCAL.unpack(header)
    if signature != b"PK\x03\x04":
        raise ZipError(f"the member {member.name!r} does not lie where the directory says")
    content = _slice(data, member.offset + _LOCAL.size + name_bytes + extra_bytes, member.size)
    if zlib.crc32(content) != member.crc:
        raise ZipError(f"the member {member.name!r} is damaged: its checksum does not hold")
    return content


def _slice(data: memoryview, offset: int, size: int) -> memoryview:
    if offset < 0 or size < 0 or offset + size > len(data):
        raise ZipError("it points beyond its end: cut short or forged")
    return data[offset : offset + size]


def _find_directory(data: memoryview) -> tuple[int, int, int]:
    """Return offset, size and number of entries of the central directory."""
    start = max(0, len(data) - _END.size - _MAX_COMMENT_BYTES)
    end = bytes(data[start:]).rfind(b"PK\x05\x06")
    if end < 0:
        raise ZipError("it has no zip directory at its end")
    end += start
    record = _END.unpack(_slice(data, end, _END.size))
    count, size, offset = record[4:7]
    if 0xFFFF in record[3:5] or 0xFFFFFFFF in (size, offset):
        locator = _END64_LOCATOR.unpack(
            _slice(data, end - _END64_LOCATOR.size, _END64_LOCATOR.size)
        )
        end64 = _END64.unpack(_slice(data, locator[2], _END64.size))
        if locator[0] != b"PK\x06\x07" or end64[0] != b"PK\x06\x06":
            raise ZipError("its zip64 directory is missing")
        count, size, offset = end64[7:10]
    return offset, size, count


def _read_entry(directory: memoryview, position: int) -> tuple[Member, int]:
    fields = _ENTRY.unpack(_slice(directory, position, _ENTRY.size))
    signature, _, _, flags, method, _, _, crc, packed, size = fields[:10]
    name_bytes, extra_bytes, comment_bytes, _, _, _, offset = fields[10:]
    if signature != b"PK\x01\x02":
        raise ZipError("its directory is damaged")
    position += _ENTRY.size
    name = _decode_name(bytes(_slice(directory, position, name_bytes)))
    position += name_bytes
    extra = _slice(directory, position, extra_bytes)
    position += extra_bytes + comment_bytes
    if flags & _ENCRYPTED or method != 0:
        raise ZipError(f"the member {name!r} is compressed or encrypted; PyTorch stores plainly")
    size, packed, offset = _widen(extra, size, packed, offset)
    if size != packed:
        raise ZipError(f"the member {name!r} has two different sizes")
    return Member(name, crc, offset, size), position


def _decode_name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ZipError(f"it has a member whose name is not UTF-8: {raw!r}") from error
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
        raise ZipError(f"it has a member outside its folder: {name!r}")
    return name


def _widen(extra: memoryview, *values: int) -> tuple[int, ...]:
    """Replace 32-bit fields that overflowed by those of the zip64 extra field, in its order."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            wide = _slice(extra, position + 4, length)
            numbers = iter(struct.unpack(f"<{length // 8}Q", wide[: length // 8 * 8]))
            return tuple(next(numbers, -1) if v == 0xFFFFFFFF else v for v in values)
        position += 4 + length
    return values
