"""The sizes of a Parquet file's pages, looked at before one is read: a page is taken into memory as a whole, whatever it
unpacks to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from headrace.errors import InputError
from headrace.text.quoting import quoted

MAX_PAGE_BYTES = 256 << 20
MAX_HEADER_BYTES = 64 * 1024
STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(13)


def check_page_sizes(path: Path, metadata: Any) -> None:
    """Raise `InputError` for a page that unpacks to more than `MAX_PAGE_BYTES`: a cell of gigabytes, or a bomb."""
    with path.open("rb") as file:
        for group in range(metadata.num_row_groups):
            row_group = metadata.row_group(group)
            for at in range(row_group.num_columns):
                column = row_group.column(at)
                if column.total_uncompressed_size <= MAX_PAGE_BYTES:
                    continue  # so is each of its pages, and a header that says otherwise is refused by Arrow
                largest = largest_page(file, column)
                if largest > MAX_PAGE_BYTES:
                    raise InputError(
                        f"{path}: column {quoted(column.path_in_schema)} has a page of {largest >> 20} MiB: a cell that large is "
                        f"not read (a page may have {MAX_PAGE_BYTES >> 20} MiB). Write smaller pages "
                        f"(data_page_size), or leave it out"
                    )


def largest_page(file: BinaryIO, column: Any) -> int:
    """Return the bytes that the largest page of a column's chunk unpacks to."""
    begin = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset is not None:
        begin = min(begin, column.dictionary_page_offset)
    end, largest = begin + column.total_compressed_size, 0
    while begin < end:
        file.seek(begin)
        header = PageHeader(file.read(MAX_HEADER_BYTES))
        uncompressed, compressed = header.sizes()
        if compressed < 0:
            break  # no header: Arrow says what is wrong with the file
        largest = max(largest, uncompressed)
        begin += header.at + compressed
    return largest


class PageHeader:
    """A page's header in Thrift's compact protocol, as far as its sizes and its end are concerned."""

    def __init__(self, data: bytes):
        self._data = data
        self.at = 0

    def sizes(self) -> tuple[int, int]:
        """Return the bytes of the page, unpacked and as it lies in the file; -1 for what cannot be read."""
        found = {2: -1, 3: -1}
        try:
            number = 0
            while (kind := self._byte()) != STOP:
                step, kind = kind >> 4, kind & 15
                number = number + step if step else self._zigzag()
                if kind == I32 and number in found:
                    found[number] = self._zigzag()
                else:
                    self._skip(kind, 0)
        except (IndexError, RecursionError):
            return -1, -1
        return found[2], found[3]

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift

    def _zigzag(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def _skip(self, kind: int, depth: int) -> None:
        if depth > 8:
            raise RecursionError
        if kind == BYTE:
            self._byte()
        elif kind in (I16, I32, I64):
            self._varint()
        elif kind == DOUBLE:
            self.at += 8
        elif kind == BINARY:
            length = self._varint()
            self.at += length
        elif kind in (LIST, SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            for _ in range(min(count, MAX_HEADER_BYTES)):
                self._skip(head & 15, depth + 1)
        elif kind == STRUCT:
            while (inner := self._byte()) != STOP:
                if not inner >> 4:
                    self._zigzag()
                self._skip(inner & 15, depth + 1)
