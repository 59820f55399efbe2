import numpy as np
import pytest
from task_cases import write_data

from tlstm_jax.tasks.cifar import cifar10, pcifar10
from tlstm_jax.tasks.data import cifar


@pytest.fixture
def folder(tmp_path):
    write_data(tmp_path)
    return tmp_path


def test_pixels_are_in_the_order_of_the_file(folder):
    images, labels = cifar.read(folder / "data_batch_2.bin")
    record = np.fromfile(folder / "data_batch_2.bin", np.uint8).reshape(8, 3073)[3]
    assert labels[3] == record[0] and images.shape == (8, 32, 32, 3)
    for row, column, colour in ((0, 0, 0), (0, 5, 1), (31, 2, 2), (7, 31, 0)):
        assert images[3, row, column, colour] == record[1 + colour * 1024 + row * 32 + column]


def test_parts_and_colours(folder):
    colour, grey = cifar10(folder, colour=True, batch_size=8), cifar10(folder, batch_size=8)
    splits = cifar.load(folder)
    assert [len(splits[part][1]) for part in ("train", "test")] == [40, 8]
    assert (colour.input_size, colour.steps, grey.input_size, grey.steps) == (3, 1024, 1, 1024)
    shown = colour.data["test"]["images"]
    np.testing.assert_array_equal(shown.reshape(8, 32, 32, 3), splits["test"][0])
    luma = shown @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey.data["test"]["images"] - luma).max() <= 0.5
    permuted = pcifar10(folder, batch_size=8)
    order = np.random.default_rng(0).permutation(1024)
    np.testing.assert_array_equal(
        permuted.data["test"]["images"], grey.data["test"]["images"][:, order]
    )
    inputs = permuted.sequences(permuted.data["test"]["images"].astype(np.float32))[:, 2]
    np.testing.assert_array_equal(
        permuted.picture(inputs), grey.data["test"]["images"][2].reshape(32, 32)
    )
    inputs = colour.sequences(shown.astype(np.float32))[:, 2]
    np.testing.assert_allclose(colour.picture(inputs), shown[2].mean(-1).reshape(32, 32), rtol=1e-6)


def test_files_in_the_archives_folder(folder):
    inner = folder / "data" / cifar.FOLDER
    inner.mkdir(parents=True)
    for name in (name for files in cifar.FILES.values() for name in files):
        (folder / name).rename(inner / name)
    assert len(cifar.load(folder / "data")["train"][1]) == 40


def test_bad_files(folder):
    whole = (folder / "test_batch.bin").read_bytes()
    for content, message in (
        (b"", "has 0 bytes; accepted are multiples of 3,073"),
        (whole[:-1], "has 24,583 bytes; accepted are multiples of 3,073"),
        (b"\x0a" + whole[1:], "label 10 of example 0 is out of range; accepted are 0 to 9"),
    ):
        (folder / "test_batch.bin").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            cifar10(folder)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no data_batch_3\.bin; accepted is a folder"):
        cifar10(folder)
    with pytest.raises(NotADirectoryError, match="a file; accepted is a directory"):
        cifar10(folder / "test_batch.bin")
    with pytest.raises(FileNotFoundError, match=r"has no data_batch_1\.bin, .*test_batch\.bin;"):
        cifar10(folder / "nowhere")
