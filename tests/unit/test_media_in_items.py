"""Images, sound and PDF files of an input: read from wherever a cell says, checked, and referred to by their hash."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from media_files import ENCRYPTED_PDF, huge_png, image, pdf, sound
from PIL import Image

from headrace.batches.build import make_template
from headrace.batches.inputs.reading import Reading
from headrace.batches.media import reader
from headrace.batches.media.cells import MAX_SOURCE_BYTES
from headrace.batches.media.references import Blob, reference, with_files
from headrace.batches.template import Item
from headrace.errors import InputError

PNG, JPEG = image(), image("JPEG")


def read(
    source: Any, prompt: str = "{text}", *, model: str = "rehearsal/x", **words: Any
) -> tuple[list[Any], list[Blob]]:
    """The contents of the last messages, with their files in them, and the blobs."""
    messages = words.pop("messages", None)
    template, _ = make_template(model, prompt, messages=messages)
    rows = Reading(source, template, **words)
    found = list(rows.items())
    blobs = [each for each in found if isinstance(each, Blob)]
    files = {blob.sha: blob.data for blob in blobs}
    jobs = [rows.template.job(each) for each in found if isinstance(each, Item) and each.refused is None]
    return [with_files(job.messages, files)[-1]["content"] for job in jobs], blobs


def url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def image_part(data: bytes, media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url(data, media_type)}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(PNG)
    (tmp_path / "in" / "b.txt.jpg").write_bytes(JPEG)
    (tmp_path / "outside.png").write_bytes(image())
    return tmp_path / "in"


class TestWhereFilesComeFrom:
    def test_paths_are_read_from_the_inputs_folder(self, folder: Path) -> None:
        (folder / "rows.csv").write_text("id,text,scan\n1,Total?,a.png\n2,,./b.txt.jpg\n")
        (first, second), blobs = read(folder / "rows.csv", images="scan", on_empty="send")
        assert first == [{"type": "text", "text": "Total?"}, image_part(PNG)]
        assert second == [image_part(JPEG, "image/jpeg")], "by what is in it, and without an empty text"
        assert [blob.sha for blob in blobs] == [hashlib.sha256(data).hexdigest() for data in (PNG, JPEG)]

    def test_lines_carry_a_reference_and_no_bytes(self, folder: Path) -> None:
        template, _ = make_template("rehearsal/x", "Read it.")
        *_, item = Reading([{"scan": PNG}], template, images=["scan"]).items()
        assert isinstance(item, Item)
        assert item.media == [{"type": "image_url", "image_url": {"url": reference("image/png", Blob.of(PNG))}}]

    @pytest.mark.parametrize(
        "value",
        [
            PNG,
            bytearray(PNG),
            url(PNG),
            {"bytes": PNG, "path": "x.png"},
            {"bytes": None, "path": "a.png"},
            Path("a.png"),
            [PNG],
        ],
    )
    def test_a_value_is_bytes_a_path_a_data_url_or_a_data_sets_struct(
        self, value: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder)
        contents, _ = read([{"scan": value}], "Read.", images="scan")
        assert contents == [[{"type": "text", "text": "Read."}, image_part(PNG)]]

    def test_an_image_in_memory_becomes_a_png(self) -> None:
        picture = Image.new("RGB", (3, 2), "red")
        ((part,),), _ = read([{"scan": picture}], images="scan")
        data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
        assert Image.open(io.BytesIO(data)).size == (3, 2)

    def test_columns_of_parquet_hold_bytes_or_structs(self, tmp_path: Path) -> None:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        scans = pa.array([{"bytes": PNG, "path": "1.png"}, {"bytes": JPEG, "path": None}], kind)
        table = pa.table({"text": ["a", "b"], "scan": scans, "raw": pa.array([JPEG, PNG], pa.binary())})
        pq.write_table(table, tmp_path / "in.parquet")
        contents, _ = read(tmp_path / "in.parquet", images=["scan", "raw"], keep="all")
        assert contents[0] == [{"type": "text", "text": "a"}, image_part(PNG), image_part(JPEG, "image/jpeg")]
        assert contents[1] == [{"type": "text", "text": "b"}, image_part(JPEG, "image/jpeg"), image_part(PNG)]

    def test_columns_of_a_dict_and_rows_of_objects_hold_bytes(self) -> None:
        contents, _ = read({"scan": [PNG, JPEG], "text": ["a", "b"]}, images="scan")
        assert [content[0]["text"] for content in contents] == ["a", "b"]

    def test_an_address_is_passed_on(self) -> None:
        contents, blobs = read([{"scan": "https://example.org/a.png"}], images="scan")
        assert contents == [[{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]]
        assert blobs == []
        with pytest.raises(InputError, match="item 1, column scan: is an address"):
            read([{"scan": "https://example.org/a.pdf"}], pdfs="scan")

    def test_rows_keep_paths_and_no_bytes(self, folder: Path) -> None:
        template, _ = make_template("rehearsal/x", "Read.")
        *_, item = Reading([{"n": 1, "scan": PNG}], template, images="scan", keep="all").items()
        assert isinstance(item, Item)
        assert item.kept == {"n": 1}
        with pytest.raises(InputError, match="which rows do not keep"):
            read([{"n": 1, "scan": PNG}], "Read.", images="scan", keep="scan")

    def test_media_stand_in_the_last_user_message(self) -> None:
        talk = [{"role": "user", "content": "Read {n}."}, {"role": "assistant", "content": "Show it."}]
        template, _ = make_template("rehearsal/x", messages=talk, prompt="{text}")
        *_, item = Reading([{"n": 1, "scan": PNG}], template, images="scan").items()
        assert isinstance(item, Item)
        first, second = template.job(item).messages
        assert [part["type"] for part in first["content"]] == ["text", "image_url"]
        assert second == talk[1]


class TestFolders:
    def test_each_file_of_a_folder_is_an_item(self, folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "deep" / "c.PDF").write_bytes(pdf("Hello"))
        (folder / ".hidden.png").write_bytes(b"")
        template, _ = make_template("rehearsal/x", "Read {name}.")
        items = [each for each in Reading(folder, template, keep="path").items() if isinstance(each, Item)]
        assert [item.custom_id for item in items] == ["a.png", "b.txt.jpg", "deep/c.PDF"]
        assert [item.fields for item in items] == [{"name": "a"}, {"name": "b.txt"}, {"name": "c"}]
        assert items[2].media is not None
        assert items[2].media[0]["file"]["filename"] == "c.PDF"
        assert [item.kept for item in items] == [{"path": item.custom_id} for item in items]

    def test_a_pattern_and_a_list_of_files_are_folders_too(self, folder: Path) -> None:
        assert len(read(f"{folder}/*.jpg")[0]) == 1
        assert len(read([folder / "a.png", folder / "b.txt.jpg"])[0]) == 2
        with pytest.raises(InputError, match="named twice"):
            read([folder / "a.png", folder / "a.png"])

    def test_texts_and_tables_stay_what_they_were(self, folder: Path) -> None:
        (folder / "rows.jsonl").write_text('{"text": "a"}\n')
        assert read(folder)[0] == ["a"]

    def test_a_link_out_of_the_folder_is_refused_unless_it_is_followed(self, folder: Path) -> None:
        (folder / "z.png").symlink_to(folder.parent / "outside.png")
        with pytest.raises(InputError, match=r"z.png: is a link that leads out of the folder, .*--follow"):
            read(folder)
        assert len(read(folder, follow=True)[0]) == 3
        template, _ = make_template("rehearsal/x", "Read.")
        *_, last = Reading(folder, template, on_bad_row="error").items()
        assert isinstance(last, Item)
        assert (last.custom_id, "leads out of the folder" in (last.refused or "")) == ("z.png", True)


class TestBadFiles:
    @pytest.mark.parametrize("name", ["../outside.png", "link.png", "{outside}"])
    def test_a_path_that_leaves_the_folder_is_refused_unless_it_is_followed(self, name: str, folder: Path) -> None:
        (folder / "link.png").symlink_to("../outside.png")
        name = name.format(outside=folder.parent / "outside.png")
        (folder / "rows.csv").write_text(f"text,scan\nx,{name}\n")
        with pytest.raises(InputError, match=r"rows.csv, line 2, column scan: .* out of the folder.*--follow"):
            read(folder / "rows.csv", images="scan")
        assert len(read(folder / "rows.csv", images="scan", follow=True)[1]) == 1

    @pytest.mark.parametrize("name", ["pipe.png", "folder", "."])
    def test_what_is_no_file_is_refused_without_waiting(self, folder: Path, name: str) -> None:
        os.mkfifo(folder / "pipe.png")
        (folder / "folder").mkdir()
        (folder / "rows.csv").write_text(f"text,scan\nx,{name}\n")
        for follow in (False, True):
            with pytest.raises(InputError, match="is no ordinary file but a folder, a pipe or a device"):
                read(folder / "rows.csv", images="scan", follow=follow)

    @pytest.mark.parametrize(
        ("data", "complaint"),
        [
            (b"just a text", "is no image but a text"),
            (b"<!DOCTYPE html><html>404", "is no image but a page of HTML"),
            (b"\x00\x01\x02\xff", "is no image but no file of a known type"),
            (pdf("x"), "is no image but a file of type application/pdf"),
            (PNG[:-20], "is cut off or damaged"),
            (PNG[:60], "is cut off or damaged"),
            (PNG[:60] + b"?" + PNG[61:], "checksum"),
            (JPEG[:-40], "is cut off or damaged: its end is missing"),
            (JPEG[:30], "is cut off or damaged"),
            (image("GIF")[:-3], "is cut off or damaged"),
            (image("WEBP")[:-3], "is cut off or damaged"),
            (image("TIFF")[:200], "cannot be read as an image"),
            (huge_png(60_000, 60_000), "a decompression bomb"),
            (huge_png(0, 5), "shows nothing"),
            (b"\x00\x00\x00\x18ftypheic" + b"\x00" * 40, "HEIC"),
            (b"\x89PNG\r\n\x1a\n", "is cut off"),
            ("nowhere.png", "No such file"),
            ("file:///etc/passwd", "addresses of file are not read"),
            ("data:image/png;base64,@@", "base64 is broken"),
            ("data:image/png", "no data URL"),
            ("a\x00b", "no path"),
            (3, "must be a path, an address, or bytes, not int"),
            ({"path": "x"}, "must be a path"),
            ([PNG] * 101, "more than 100 files"),
        ],
    )
    def test_what_is_no_image_is_a_bad_row_with_its_place(self, data: Any, complaint: str) -> None:
        with pytest.raises(InputError, match=f"item 2, column scan: .*{complaint}"):
            read([{"scan": PNG}, {"scan": data}], images="scan")
        contents, _ = read([{"scan": PNG}, {"scan": data}, {"scan": JPEG}], images="scan", on_bad_row="skip")
        assert len(contents) == 2

    @pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "JPEG"])
    def test_every_image_cut_at_any_place_is_refused_or_whole(self, form: str) -> None:
        data = image(form)
        for end in range(1, len(data) - 2, 7):
            with pytest.raises(InputError, match=r"cut off|is no image"):
                read([{"scan": data[:end]}], images="scan")

    def test_a_cell_that_is_too_large_is_a_bad_row(self) -> None:
        big = pa.array([PNG, b"\xff" * (MAX_SOURCE_BYTES + 1), JPEG], pa.large_binary())
        table = pa.table({"text": ["a", "b", "c"], "scan": big})
        with pytest.raises(InputError, match="row 2: a cell has more than"):
            read(table, images="scan")
        contents, _ = read(table, images="scan", on_bad_row="skip")
        assert [content[0]["text"] for content in contents] == ["a", "c"]

    def test_a_file_that_is_too_large_is_not_read(self, folder: Path) -> None:
        with (folder / "big.png").open("wb") as file:
            file.truncate(2 << 30)
        (folder / "rows.csv").write_text("text,scan\nx,big.png\n")
        with pytest.raises(InputError, match="has 2147483648 bytes, and a file may have"):
            read(folder / "rows.csv", images="scan")
        with pytest.raises(InputError, match="what is sent may have 20971520"):
            read([{"scan": sound(1400)}], recordings="scan")

    def test_empty_cells_are_refused_skipped_or_sent(self) -> None:
        rows = [{"text": "a", "scan": None}, {"text": "b", "scan": PNG}]
        with pytest.raises(InputError, match="item 1: field `scan`, which is media, is null"):
            read(rows, images="scan")
        assert len(read(rows, images="scan", on_empty="skip")[0]) == 1
        assert read(rows, images="scan", on_empty="send")[0][0] == "a"
        with pytest.raises(InputError, match="field `scan`, which is media, is missing"):
            read([{"text": "a"}], images="scan")

    @pytest.mark.parametrize(
        "words",
        [{"images": ["a", "a"]}, {"images": 3}, {"image_size": 0}, {"image_size": True}, {"pdf_as": "x"}, {"pdfs": ""}],
    )
    def test_options_that_say_nothing_are_refused(self, words: dict[str, Any]) -> None:
        if words == {"pdfs": ""}:
            words = {"pdfs": [""]}
        with pytest.raises(InputError):
            read([{"text": "a"}], **words)


class TestScaling:
    def test_a_large_image_is_made_smaller_and_a_small_one_stays(self) -> None:
        large = image("JPEG", (400, 100))
        (((part,)), (kept,)), blobs = read([{"scan": large}, {"scan": PNG}], images="scan", image_size=200)
        assert kept == image_part(PNG)
        assert part["image_url"]["url"].startswith("data:image/jpeg;")
        assert Image.open(io.BytesIO(blobs[0].data)).size == (200, 50)

    def test_an_images_orientation_is_kept(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        _, (blob,) = read([{"scan": image("JPEG", (400, 100), exif=exif)}], images="scan", image_size=200)
        assert Image.open(io.BytesIO(blob.data)).size == (50, 200)

    @pytest.mark.parametrize("form", ["BMP", "TIFF"])
    def test_types_that_no_provider_takes_become_png(self, form: str) -> None:
        ((part,),), _ = read([{"scan": image(form)}], images="scan")
        assert part["image_url"]["url"].startswith("data:image/png;")

    @pytest.mark.parametrize("mode", ["P", "LA", "RGBA", "CMYK", "I;16", "1", "F"])
    def test_images_of_every_mode_can_be_made_smaller(self, mode: str) -> None:
        file = io.BytesIO()
        Image.new(mode, (60, 60)).save(file, "TIFF" if mode in ("CMYK", "F") else "PNG")
        _, (blob,) = read([{"scan": file.getvalue()}], images="scan", image_size=30)
        assert max(Image.open(io.BytesIO(blob.data)).size) == 30


class TestSoundAndPdf:
    def test_a_sound_is_base64_with_its_format(self) -> None:
        data = sound()
        contents, _ = read([{"clip": data}], "Write it down.", recordings="clip")
        assert contents[0][1] == {
            "type": "input_audio",
            "input_audio": {"data": base64.b64encode(data).decode(), "format": "wav"},
        }

    def test_sounds_that_cannot_be_used_are_refused(self) -> None:
        with pytest.raises(InputError, match=r"is no sound file .* but a text"):
            read([{"clip": b"hello"}], recordings="clip")
        with pytest.raises(InputError, match="cut off"):
            read([{"clip": sound()[:-9]}], recordings="clip")
        flac = b"fLaC" + b"\x00" * 40
        assert len(read([{"clip": flac}], recordings="clip")[0]) == 1
        with pytest.raises(InputError, match="OpenAI takes WAV and MP3"):
            read([{"clip": flac}], recordings="clip", model="openai/gpt-audio")

    def test_a_pdf_is_sent_as_a_file_a_text_or_pictures(self, folder: Path) -> None:
        data = pdf("Invoice 7", "Page two")
        (folder / "deep").mkdir()
        (folder / "deep" / "i.pdf").write_bytes(data)
        source = folder / "deep"
        ((part,),), _ = read(source)
        assert part == {"type": "file", "file": {"filename": "i.pdf", "file_data": url(data, "application/pdf")}}
        ((part,),), blobs = read(source, pdf_as="text")
        assert (part, blobs) == ({"type": "text", "text": "Invoice 7\n\nPage two"}, [])
        (parts,), blobs = read(source, pdf_as="images", image_size=300)
        assert [part["type"] for part in parts] == ["image_url"] * 2
        assert [max(Image.open(io.BytesIO(blob.data)).size) for blob in blobs] == [300, 300]

    @pytest.mark.parametrize(
        ("data", "complaint"),
        [
            (ENCRYPTED_PDF, "is a PDF with a password"),
            (b"%PDF-1.4\nnothing more", "cannot be read as a PDF"),
            (PNG, "is no PDF but an image of type image/png"),
            (pdf(*["x"] * 101), "has 101 pages"),
        ],
    )
    def test_a_pdf_that_cannot_be_used_is_a_bad_row(self, data: bytes, complaint: str) -> None:
        for form in ("file", "text", "images"):
            with pytest.raises(InputError, match=f"item 1, column doc: .*{complaint}"):
                read([{"doc": data}], pdfs="doc", pdf_as=form)

    def test_a_file_of_a_folder_is_told_what_its_name_promises(self, tmp_path: Path) -> None:
        for name, what in (("a.pdf", "PDF"), ("b.mp3", "sound file"), ("c.png", "image")):
            (tmp_path / name).write_text("just a text")
            with pytest.raises(InputError, match=f"{name}: is no {what}.* but a text"):
                read(tmp_path / name)

    def test_each_page_is_an_item(self, tmp_path: Path) -> None:
        (tmp_path / "a.pdf").write_bytes(pdf("Invoice 7", "Page two", ""))
        (tmp_path / "b.pdf").write_bytes(pdf("Other"))
        template, _ = make_template("rehearsal/x", "Read {name}, {page} of {pages}.")
        ids = ["a.pdf#page=1", "a.pdf#page=2", "a.pdf#page=3", "b.pdf#page=1"]
        rows = Reading(tmp_path, template, pdf_as="pages", image_size=300, keep="name,page")
        found = list(rows.items())
        items = [each for each in found if isinstance(each, Item)]
        assert [item.custom_id for item in items] == ids
        assert [item.kept for item in items[2:]] == [{"name": "a", "page": 3}, {"name": "b", "page": 1}]
        blobs = {blob.data for blob in found if isinstance(blob, Blob)}
        assert [max(Image.open(io.BytesIO(data)).size) for data in blobs] == [300] * 4, "a picture of each"
        texts, _ = read(tmp_path, "Read {name}, {page} of {pages}.", pdf_as="page-texts", on_empty="skip")
        assert [[part["text"] for part in content] for content in texts] == [
            ["Read a, 1 of 3.", "Invoice 7"],
            ["Read a, 2 of 3.", "Page two"],
            ["Read b, 1 of 1.", "Other"],
        ]
        with pytest.raises(InputError, match=r"a\.pdf, page 3: has no text.*--pdf-as pages"):
            read(tmp_path, pdf_as="page-texts")
        assert len(read(tmp_path, "{page}", pdf_as="pages", limit=2)[0]) == 2

    def test_pages_of_a_column_keep_the_columns_of_their_row(self, tmp_path: Path) -> None:
        rows = pa.table({"id": ["x", "y"], "doc": [pdf("One", "Two"), b"a text"], "note": ["paid", "open"]})
        template, _ = make_template("rehearsal/x", "{note} {page}")
        reading = Reading(rows, template, pdfs="doc", pdf_as="pages", keep="note,pages", on_bad_row="error")
        items = [each for each in reading.items() if isinstance(each, Item)]
        assert [item.custom_id for item in items] == ["x#page=1", "x#page=2", "y"]
        assert items[0].kept == {"note": "paid", "pages": 2}
        assert "is no PDF but a text" in (items[2].refused or "")
        assert reading.template.kept is not None
        assert pa.ipc.read_schema(pa.py_buffer(reading.template.kept.types)).names == ["note", "pages"]
        without, _ = make_template("rehearsal/x", "Read it.")
        items = Reading([{"doc": pdf("One", "Two")}], without, pdfs="doc", pdf_as="pages").items()
        assert [item.custom_id for item in items if isinstance(item, Item)] == ["line-1#page=1", "line-1#page=2"]
        with pytest.raises(InputError, match="is one of several files"):
            read([{"doc": [pdf("One"), pdf("Two")]}], "Read it.", pdfs="doc", pdf_as="pages")

    def test_a_picture_is_made_once_where_the_input_is_read_again(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[int] = []
        fitting = reader.fitting
        monkeypatch.setattr(reader, "fitting", lambda *words: made.append(1) or fitting(*words))
        template, _ = make_template("rehearsal/x", "Read it.")
        rows = Reading(folder, template, image_size=16, reads_again=True)
        first, second = list(rows.items()), list(rows.items())
        assert first == second
        assert len(made) == 2, "of two files"

    def test_a_pdf_without_text_says_what_to_do(self) -> None:
        with pytest.raises(InputError, match="--pdf-as images"):
            read([{"doc": pdf("")}], pdfs="doc", pdf_as="text")
