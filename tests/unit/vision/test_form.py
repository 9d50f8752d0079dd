"""Other pictures brought to the form that a learner reads, and picture files as they lie."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metabench.vision.data.decode import decode
from metabench.vision.data.form import Form, form_of
from metabench.vision.data.glyphs import GLYPHS
from metabench.vision.data.mini_imagenet import MINI_IMAGENET
from metabench.vision.data.omniglot import OMNIGLOT, Omniglot
from metabench.vision.data.pictures import class_folders, pictures
from metabench.vision.data.source import DataError
from metabench.vision.episodes import Brought, Episodes, Shape


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_each_data_set_has_its_form() -> None:
    assert form_of(OMNIGLOT) == Form(1, 28, "lanczos", invert=True)
    assert form_of(Omniglot(resample="nearest")) == Form(1, 28, "nearest", invert=True)
    assert form_of(MINI_IMAGENET) == Form(3, 84)
    assert form_of(GLYPHS) == Form(1, 28)
    assert (str(form_of(OMNIGLOT)), str(form_of(MINI_IMAGENET))) == ("28 x 28 grey", "84 x 84 colour")


@pytest.mark.parametrize("resample", ["lanczos", "nearest"])
def test_a_file_is_decoded_as_omniglot_decodes_its_own(resample: str) -> None:
    page = Image.new("1", (105, 105), 1)
    page.paste(0, (30, 20, 50, 90))
    form = form_of(Omniglot(resample=resample))
    expected = decode(png(page), "a", channels=1, size=28, resample=resample, invert=True)
    assert np.array_equal(form.decode(png(page), "a"), expected)
    assert np.array_equal(form.picture(page, "a"), expected)
    assert expected.max() == 255 and expected[0, 0, 0] == 0, "bright strokes on black"


def test_depth_alpha_and_orientation_are_read_as_everywhere() -> None:
    deep = Image.fromarray(np.full((4, 4), 32896, np.uint16))
    assert Form(1, 4).decode(png(deep), "deep").tolist() == [[[128] * 4] * 4]
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert Form(1, 4).decode(png(clear), "clear").min() == 255
    turned = Image.new("L", (4, 2), 0)
    turned.putpixel((0, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = 3
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif)
    assert Form(1, 4, "nearest").decode(buffer.getvalue(), "turned")[0, -1, -1] == 255


def test_grey_becomes_colour_colour_grey_and_sizes_change() -> None:
    grey = np.arange(2 * 16, dtype=np.uint8).reshape(2, 1, 4, 4)
    assert Form(1, 4).bring(grey) is grey
    assert np.array_equal(Form(3, 4).bring(grey), grey.repeat(3, 1))
    red = np.zeros((1, 3, 4, 4), np.uint8)
    red[:, 0] = 255
    assert Form(1, 4).bring(red).tolist() == [[[[76] * 4] * 4]]  # ITU-R 601: 0.299 of 255
    image = Image.fromarray(grey[1, 0])
    larger = np.asarray(image.resize((8, 8), Image.Resampling.LANCZOS))
    assert np.array_equal(Form(1, 8).bring(grey)[1, 0], larger)
    assert Form(1, 8).bring(grey[:0]).shape == (0, 1, 8, 8)
    for wrong in (grey[0], grey.astype(np.float32), np.zeros((1, 2, 4, 4), np.uint8)):
        with pytest.raises(DataError, match=r"expected uint8, \(N, 1 or 3, H, W\)"):
            Form(1, 4).bring(wrong)


def test_episodes_are_brought_image_by_image_and_keep_their_labels(tmp_path: Path) -> None:
    plain = Episodes(GLYPHS.load(tmp_path, "alphabets", cache=tmp_path), "test", Shape(3, 2, 1), seed=5)
    form = Form(3, 20)
    brought = Brought(plain, form)
    assert brought.seed == 5
    for before, after in zip(plain.draw([4, 9]), brought.draw([4, 9])):
        assert after.x.shape == (2, before.x.shape[1], 3, 20, 20)
        assert torch.equal(after.y, before.y) and torch.equal(after.w, before.w) and after.ways == 3
        pixels = (before.x[1, 2] * 255).round().to(torch.uint8).numpy()
        assert torch.equal(after.x[1, 2], torch.from_numpy(form.bring(pixels[None])[0]).float() / 255)


def folders(root: Path, **classes: int) -> Path:
    """A folder for each class with so many pictures, each of its own grey."""
    for c, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("L", (6, 6), 20 * c + i).save(root / name / f"{i}.png")
    return root


def test_class_folders_in_order_with_deeper_folders_and_without_hidden_ones(tmp_path: Path) -> None:
    root = folders(tmp_path / ".hidden" / "s", b=2, a=1)
    (root / "a" / "deep").mkdir()
    Image.new("L", (6, 6), 99).save(root / "a" / "deep" / "x.png")
    (root / ".DS_Store").write_text("")
    (root / "a" / "notes.txt").write_text("")
    found = class_folders(root, Form(1, 6))
    assert found.names == ("a/0.png", "a/deep/x.png", "b/0.png", "b/1.png")
    assert found.folders == ("a", "a", "b", "b")
    assert found.pixels[:, 0, 0, 0].tolist() == [20, 99, 0, 1]


def test_pictures_of_several_places_are_named_by_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders(Path("q"), a=1)
    Image.new("L", (6, 6)).save("loose.bin", "PNG")
    found = pictures([Path("q"), Path("loose.bin")], Form(1, 6))
    assert (found.names, found.folders) == (("q/a/0.png", "loose.bin"), ("a", ""))


def test_every_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = folders(tmp_path / "s", a=2, b=1)
    for i in range(25):
        (root / "a" / f"bad{i:02d}.png").write_bytes(b"x")
    with pytest.raises(DataError, match="25 pictures cannot be read") as caught:
        class_folders(root, Form(1, 6))
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("  a/bad00.png is not a readable picture") and lines[-1] == "  … and 5 more"
    found = class_folders(root, Form(1, 6), skip=True)
    assert (len(found.names), len(found.left_out)) == (3, 25)
