"""Stands in for PyTorch: tensors over numpy, with what the original's client does to them and no more."""
import numpy as np


class dtype:
    def __init__(self, name):
        self.name = name

    def __str__(self):
        return f"torch.{self.name}"


class Tensor:
    device = "cpu"

    def __init__(self, array):
        self.array = np.asarray(array)

    @property
    def dtype(self):
        return dtype(self.array.dtype.name)

    @property
    def shape(self):
        return self.array.shape

    def cpu(self):
        return self

    def numpy(self):
        return self.array

    def __getitem__(self, key):
        return Tensor(self.array[key])


def stack(tensors, dim=0):
    return Tensor(np.stack([one.array for one in tensors], axis=dim))
