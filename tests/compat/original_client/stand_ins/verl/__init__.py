"""Stands in for verl: what the original's client takes from it."""
from torch import Tensor


class DataProto:
    def __init__(self, batch, non_tensor_batch):
        self.batch, self.non_tensor_batch, self.meta_info = batch, non_tensor_batch, {}

    @staticmethod
    def from_single_dict(data):
        return DataProto({key: value for key, value in data.items() if isinstance(value, Tensor)},
                         {key: value for key, value in data.items() if not isinstance(value, Tensor)})
