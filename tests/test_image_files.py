import io
import shutil
import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from robustness.data import DataError, describe, folders, load
from search_spaces.datasets import dataset_of
from search_spaces.sections import Data

RNG = np.random.default_rng


def arrays(*, count=30, classes=3, shape=(9, 8, 3), seed=0):
    rng = RNG(seed)
    images = {f"{part}_images": rng.integers(0, 256, (count, *shape)).astype(np.uint8) for part in ("train", "test")}
    return images | {f"{part}_labels": rng.permutation(np.arange(count) % classes) for part in ("train", "test")}


def write(path, **held):
    with path.open("wb") as file:
        np.savez(file, **held)
    return Data(npz=str(path))


def described(data):
    return describe(data, data.datasets[0])


def loaded(data):
    return load(described(data), data)


def rows(images):
    return [image.numpy().tobytes() for image in images]


@pytest.mark.parametrize("shape", [(9, 8, 3), (8, 10, 1), (8, 9)])
def test_a_file_of_arrays_comes_back_with_channels_first(tmp_path, shape):
    held = arrays(shape=shape)
    splits = loaded(write(tmp_path / "mine.npz", **held, more=np.arange(3)))
    train, test = (
        held[f"{part}_images"].reshape(30, *shape[:2], -1).transpose(0, 3, 1, 2) for part in ("train", "test")
    )
    label_of = {image.tobytes(): label for image, label in zip(train, held["train_labels"], strict=True)}
    assert sorted(rows(splits.train)) == sorted(label_of)
    for split in (splits.fit, splits.validation):
        assert [label_of[row] for row in rows(split.images)] == split.labels.tolist()
    assert torch.equal(splits.test.images, torch.from_numpy(test))
    assert splits.test.labels.tolist() == held["test_labels"].tolist()
    assert splits.train.dtype == torch.uint8


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.uint64, np.int16])
def test_labels_of_any_whole_kind_are_the_same(tmp_path, kind):
    held = arrays()
    labels = {key: held[key].astype(kind) for key in held if key.endswith("labels")}
    splits = loaded(write(tmp_path / "a.npz", **held | labels))
    assert splits.test.labels.tolist() == held["test_labels"].tolist()
    assert splits.test.labels.dtype == torch.int64


def test_a_trial_tells_the_facts_of_a_file_and_never_its_path(tmp_path):
    held = arrays(count=40, classes=4)
    told = described(write(tmp_path / "mine.npz", **held))
    facts, splits = dataset_of(told), loaded(Data(npz=str(tmp_path / "mine.npz")))
    assert (facts.shape, facts.num_classes) == ((3, 9, 8), 4)
    sizes = (len(splits.train), len(splits.fit.labels), len(splits.validation.labels), len(splits.test.labels))
    assert (facts.num_train, facts.num_fit, facts.num_validation, facts.num_test) == sizes == (40, 36, 4, 40)
    pixels = held["train_images"].reshape(-1, 3) / 255
    assert facts.mean == pytest.approx(pixels.mean(0), abs=6e-5)
    assert facts.deviation == pytest.approx(pixels.std(0), abs=6e-5)
    assert str(tmp_path) not in str(told)
    assert told["dataset"] == "mine"


def test_mean_and_deviation_are_those_of_all_images_of_a_large_file(tmp_path):
    held = arrays(count=2500, shape=(8, 8), classes=2)
    held["train_images"][1500:] //= 4
    facts = dataset_of(described(write(tmp_path / "mine.npz", **held)))
    assert facts.mean == pytest.approx([held["train_images"].mean() / 255], abs=6e-5)
    assert facts.deviation == pytest.approx([held["train_images"].std() / 255], abs=6e-5)


def test_a_file_is_known_by_its_bytes_wherever_it_lies(tmp_path):
    held = arrays()
    data = write(tmp_path / "mine.npz", **held)
    before = described(data)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(data.npz, tmp_path / "elsewhere" / "mine.npz")
    moved = Data(npz=str(tmp_path / "elsewhere" / "mine.npz"))
    assert described(moved) == before
    held["test_images"][0, 0, 0, 0] ^= 1
    other = write(tmp_path / "mine.npz", **held)
    assert described(other)["content"] != before["content"]
    with pytest.raises(DataError, match=r"^data.npz: .*mine.npz: expected the content that was planned, "):
        load(before, other)
    with pytest.raises(DataError, match="mine was planned from files; expected npz or imagefolder to say"):
        load(before)


@pytest.mark.parametrize(
    ("shape", "preset"),
    [((8, 8), "crop_flip"), ((28, 28, 1), "crop_flip"), ((32, 32, 3), "cifar"), ((64, 90, 3), "cifar"),
     ((96, 96, 3), "stl"), ((160, 160, 3), "imagenet")],
)  # fmt: skip
def test_the_default_preset_goes_by_channels_and_size(tmp_path, shape, preset):
    assert described(write(tmp_path / "a.npz", **arrays(count=4, classes=2, shape=shape)))["augmentation"] == preset


def bad(**changes):
    return arrays() | changes


FIRST = np.arange(30) % 3
SMALL = np.zeros((30, 7, 8, 3), np.uint8)
FLAT = np.full((30, 9, 8, 3), 255, np.uint8)
WRONG = [
    (bad(train_images=FLAT / 255), "train_images: expected unsigned bytes .uint8., 0 to 255, got float64"),
    (
        bad(train_images=np.zeros((9, 3, 32, 32), np.uint8)),
        r"train_images: expected \[n, height, width\] or .* got shape",
    ),
    (bad(test_images=FLAT[:, 0, 0]), r"test_images: expected \[n, height, width\]"),
    (bad(test_images=FLAT[:0]), "test_images: expected at least one image"),
    (bad(train_images=SMALL), "train_images: expected images of at least 8 x 8, got shape .30, 7, 8, 3."),
    (bad(test_images=FLAT[..., 0]), "test_images: expected images of the shape of train_images, .9, 8, 3., got .9, 8."),
    (bad(train_labels=FIRST[:29]), "train_labels: expected one label for each of the 30 train_images, got shape .29,."),
    (bad(test_labels=FIRST[:, None]), "test_labels: expected one label for each of the 30 test_images, got shape"),
    (bad(train_labels=FIRST / 1), "train_labels: expected whole numbers, got float64"),
    (bad(train_labels=FIRST > 0), "train_labels: expected whole numbers, got bool"),
    (bad(train_labels=FIRST - 1), "labels: expected whole numbers from 0, got -1"),
    (bad(test_labels=FIRST - 1), "labels: expected whole numbers from 0, got -1"),
    (bad(train_labels=FIRST * 2), "train_labels: expected every class from 0 to 4, got none of 1"),
    (bad(train_labels=FIRST + 1), "train_labels: expected every class from 0 to 3, got none of 0"),
    (bad(train_labels=FIRST * 0), "train_labels: expected at least two classes, got 1"),
    (bad(train_labels=np.r_[FIRST[1:] % 2, 2]), "train_labels: expected at least two images .*, got one of class 2"),
    (bad(test_labels=FIRST + 1), "test_labels: expected the classes of train_labels, 0 to 2, got 3"),
    (bad(train_images=FLAT), "expected training images that differ, got 1 all over channel 0"),
    (bad(train_labels=np.array([None] * 30)), "train_labels: can't read this array: "),
    ({"train_images": FLAT}, "expected arrays train_images, .*; train_labels is missing, got train_images"),
]


@pytest.mark.parametrize(("held", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_what_a_file_may_not_hold_is_one_line(tmp_path, held, message):
    data = write(tmp_path / "my.npz", **held)
    with pytest.raises(DataError, match=f"^data.npz: {tmp_path}/my.npz: {message}") as caught:
        described(data)
    assert "\n" not in str(caught.value)


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    # One byte of the first array's data: its checksum no longer fits.
    return content[:1000] + bytes([content[1000] ^ 1]) + content[1001:]


def single(content):
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


@pytest.mark.parametrize(
    "damage", [truncated, flipped, single, lambda content: b"", lambda content: b"PK" * 40, lambda content: b"text"]
)
def test_a_damaged_file_is_one_line(tmp_path, damage):
    data = write(tmp_path / "my.npz", **arrays())
    path = tmp_path / "my.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"^data.npz: {path}: ") as caught:
        described(data)
    assert "\n" not in str(caught.value)


def test_an_array_that_claims_to_be_larger_than_its_file_is_one_line(tmp_path):
    write(tmp_path / "my.npz", **arrays())
    with zipfile.ZipFile(tmp_path / "my.npz") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    old = parts["train_images.npy"]
    length = struct.unpack("<H", old[8:10])[0]
    header = old[10 : 10 + length].replace(b"(30, 9, 8, 3)", b"(40, 9, 8, 3)")
    with zipfile.ZipFile(tmp_path / "my.npz", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, old[:10] + header + old[10 + length :] if name == "train_images.npy" else content)
    with pytest.raises(DataError, match="train_images: can't read this array: "):
        described(Data(npz=str(tmp_path / "my.npz")))


def test_a_file_that_is_not_there_or_a_folder_is_one_line(tmp_path):
    for path, reason in ((tmp_path / "no.npz", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(DataError, match=f"^data.npz: {path}: can't read this file: {reason}$"):
            described(Data(npz=str(path)))


# Folders of images.


def picture(path, *, size=(20, 12), seed=0, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(RNG(seed).integers(0, 256, shape).astype(np.uint8), mode=None).save(path)


@pytest.fixture
def folder(tmp_path):
    """Ten and five training images of cats and dogs, two test images of each, of several sizes and kinds."""
    seed = 0
    for part, counts in (("train", {"cat": 10, "dog": 5}), ("val", {"cat": 2, "dog": 2})):
        for name, count in counts.items():
            for k in range(count):
                seed += 1
                kind = ("png", "JPEG", "bmp")[k % 3]
                size = ((20, 12), (10, 31), (16, 16))[k % 3]
                picture(
                    tmp_path / "pets" / part / name / f"{k}.{kind}", seed=seed, size=size, mode="RGB" if k % 4 else "L"
                )
    (tmp_path / "pets" / "train" / "notes.txt").write_text("not a class")
    (tmp_path / "pets" / "train" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "pets" / "train" / "cat" / ".hidden.png").write_text("not an image either")
    return tmp_path / "pets"


def of(folder, side=8):
    return Data(imagefolder=str(folder), image_size=side)


def resized(path, side):
    """The shorter side to `side`, the middle of the longer one: as a resize to the exact scale and a crop in it."""
    image = Image.open(path).convert("RGB")
    scale = side / min(image.size)
    width, height = (side / scale for _ in range(2))
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, left + width, top + height)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box)).transpose(2, 0, 1)


def test_a_folder_of_images_is_resized_cropped_and_labelled_by_class(folder):
    splits = loaded(of(folder))
    for part, split_images, names in (
        ("train", splits.images, splits.labels),
        ("val", splits.test.images, splits.test.labels),
    ):
        files = sorted(path for path in (folder / part).glob("*/[0-9]*") if path.suffix != ".txt")
        expected = {resized(path, 8).tobytes(): ["cat", "dog"].index(path.parent.name) for path in files}
        assert len(files) == len(split_images) == len(expected)
        assert dict(zip(rows(split_images), names.tolist(), strict=True)) == expected
    assert (len(splits.fit.labels), len(splits.validation.labels)) == (13, 2)
    assert splits.train.shape == (15, 3, 8, 8)


def test_a_trial_tells_the_facts_of_a_folder(folder):
    facts, splits = dataset_of(described(of(folder))), loaded(of(folder))
    assert (facts.shape, facts.num_train, facts.num_test, facts.num_classes) == ((3, 8, 8), 15, 4, 2)
    pixels = splits.train.double().transpose(0, 1).flatten(1) / 255
    assert facts.mean == pytest.approx(pixels.mean(1).tolist(), abs=6e-5)
    assert facts.deviation == pytest.approx(pixels.std(1, correction=0).tolist(), abs=6e-5)
    assert described(Data(imagefolder=str(folder)))["shape"] == (3, 224, 224)


def test_mean_and_deviation_of_a_large_folder_are_those_of_an_evenly_spaced_sample(folder, monkeypatch):
    files = sorted((folder / "train").glob("*/[0-9]*"))
    monkeypatch.setattr(folders, "_MOST_SAMPLED", 3)
    sample = np.stack([resized(files[k], 8) for k in (0, 7, 14)])
    assert described(of(folder))["mean"] == pytest.approx(sample.mean((0, 2, 3)) / 255, abs=6e-5)


def test_a_folder_is_known_by_its_names_and_sizes_wherever_it_lies(folder, tmp_path):
    before = described(of(folder))
    moved = tmp_path / "elsewhere" / "pets"
    shutil.copytree(folder, moved)
    assert described(of(moved)) == before
    (moved / "train" / "cat" / "0.png").rename(moved / "train" / "cat" / "x.png")
    assert described(of(moved))["content"] != before["content"]
    with pytest.raises(DataError, match=r"^data.imagefolder: .*pets: expected the content that was planned"):
        load(before, of(moved))


def test_test_images_lie_in_test_or_val(folder):
    before = loaded(of(folder))
    (folder / "val").rename(folder / "test")
    assert torch.equal(loaded(of(folder)).test.images, before.test.images)


def remove(*paths):
    return lambda folder: [shutil.rmtree(folder / path) for path in paths]


def leave_one(folder):
    for path in list((folder / "train" / "dog").iterdir())[1:]:
        path.unlink()


def empty(folder):
    for path in (folder / "val" / "dog").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("train"), "expected the folders train/CLASS and test/CLASS or val/CLASS; can't list train: No such"),
        (remove("val"), "expected the folders train/CLASS and test/CLASS or val/CLASS; can't list val: No such"),
        (remove("train/dog", "val/dog"), "train: expected a folder for each of at least two classes, got 1"),
        (remove("train/cat", "train/dog"), "train: expected a folder for each of at least two classes, got 0"),
        (remove("val/dog"), "expected the same classes to train and to test, got dog in train only"),
        (lambda folder: shutil.copytree(folder / "val/dog", folder / "val/cow"), "expected .* got cow in test only"),
        (empty, r"val/dog: expected images .*\.jpg.*, got none"),
        (leave_one, "train/dog: expected at least two images of each class, got one"),
    ],
)
def test_a_folder_that_is_not_as_it_should_be_is_one_line(folder, change, message):
    change(folder)
    with pytest.raises(DataError, match=f"^data.imagefolder: {folder}: {message}"):
        described(of(folder))


@pytest.mark.parametrize("name", ["train/cat/0.png", "train/cat/1.JPEG", "val/dog/1.JPEG"])
@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda content: b"", lambda content: b"x" * 99]
)
def test_an_image_that_can_not_be_read_is_named(folder, name, damage):
    path = folder / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"^data.imagefolder: {folder}: {name}: can't read this image: ") as caught:
        loaded(of(folder))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"^data.imagefolder: .*/no: expected the folders .*can't list train: No such"):
        described(of(tmp_path / "no"))
