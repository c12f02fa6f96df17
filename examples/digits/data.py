"""The handwritten digits that both programs here use, split the same way in each."""

import csv
import gzip
import pathlib
from typing import NamedTuple

import numpy as np

# Kept from training, to measure what was learned on images that were never rewarded.
TEST_SHARE = 0.2


class Digits(NamedTuple):
    """Images are rows of 64 brightnesses in 0..1; labels are 0..9."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load(data_path: str) -> Digits:
    """`digits` is scikit-learn's data set; anything else a CSV file in its format, gzipped or not.

    Raises OSError or ValueError with a message for the user.
    """
    if data_path == "digits":
        from sklearn.datasets import load_digits  # slow to import: only where it is needed

        images, labels = load_digits(return_X_y=True)
    else:
        images, labels = _read_csv(pathlib.Path(data_path))
    # The same order in every process, whatever the seed of the training: the two programs talk about
    # images by their index in the training part.
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order] / 16.0, labels[order].astype(int)
    cut = int(len(labels) * (1 - TEST_SHARE))
    return Digits(images[:cut], labels[:cut], images[cut:], labels[cut:])


def _read_csv(path: pathlib.Path):
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    with opened as file:
        rows = np.array(list(csv.reader(file)), dtype=float)
    if rows.ndim != 2 or rows.shape[1] != 65 or len(rows) < 10:
        raise ValueError(f"{path}: needs 10 rows or more of 64 brightnesses (0-16) and a label")
    return rows[:, :64], rows[:, 64]
