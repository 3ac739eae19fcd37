"""Zip archives that torch writes, read with limits: nothing is unpacked, and no size in the file is believed."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from estimator.base.errors import ModelFileError
from estimator.sources.loaded import NAME_THE_CODE

MAX_DIRECTORY_BYTES = 64 * 2**20
"""Limit of a zip's table of contents; an entry takes about 100 bytes, and a model has one per tensor."""

_END = struct.Struct("<4s4H2LH")
_DAMAGED = "the archive {name} is damaged or cut short: copy or save it again"


class Archive:
    """The members of a torch archive: their names without the archive's own folder, read on demand."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._check_directory_size()
        try:
            with zipfile.ZipFile(path) as archive:
                self._members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OverflowError) as error:
            raise ModelFileError(_DAMAGED.format(name=path.name)) from error
        if not self._members:
            raise ModelFileError(f"the archive {path.name} is empty: save the model again")
        for name in self._members:
            if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
                raise ModelFileError(
                    f"the archive {path.name} has a member whose name leaves the archive, which torch never writes: "
                    "get the model from somebody you trust"
                )
        roots = {name.split("/", 1)[0] for name in self._members}
        nested = len(roots) == 1 and all("/" in name for name in self._members)
        self._root = f"{roots.pop()}/" if nested else ""

    @property
    def names(self) -> list[str]:
        """The members' names."""
        return [name[len(self._root) :] for name in self._members]

    def has(self, name: str) -> bool:
        """Whether there is a member `name`."""
        return self._root + name in self._members

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of the member `name`; refused where it is larger than `limit`, compressed or damaged."""
        info = self._members[self._root + name]
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise ModelFileError(
                f"the member {name} of {self._path.name} is compressed, which torch never does: save the model again "
                "with torch"
            )
        if info.file_size > limit:
            raise ModelFileError(
                f"the member {name} of {self._path.name} has {info.file_size / 2**20:,.0f} MiB, more than the limit of "
                f"{limit / 2**20:,.0f} MiB: {NAME_THE_CODE}"
            )
        try:
            with zipfile.ZipFile(self._path) as archive:
                return archive.read(info)
        except (zipfile.BadZipFile, EOFError, struct.error, ValueError, RuntimeError, OSError) as error:
            raise ModelFileError(_DAMAGED.format(name=self._path.name)) from error

    def _check_directory_size(self) -> None:
        """Refuse a table of contents that would fill the memory, before `zipfile` reads all of it."""
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            file.seek(max(0, size - 65_535 - _END.size))
            tail = file.read()
        found = tail.rfind(b"PK\x05\x06")
        if found < 0 or len(tail) - found < _END.size:
            raise ModelFileError(_DAMAGED.format(name=self._path.name))
        directory_bytes = _END.unpack_from(tail, found)[5]
        if directory_bytes == 0xFFFFFFFF or tail.rfind(b"PK\x06\x06") >= 0:
            zip64 = tail.rfind(b"PK\x06\x06")
            directory_bytes = struct.unpack_from("<Q", tail, zip64 + 40)[0] if 0 <= zip64 <= len(tail) - 56 else size
        if directory_bytes > MAX_DIRECTORY_BYTES:
            raise ModelFileError(f"the archive {self._path.name} lists more members than a model has: {NAME_THE_CODE}")
