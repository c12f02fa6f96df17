import numpy as np
from torch import Tensor


def compute_position_id_with_mask(mask):
    return Tensor(np.clip(np.cumsum(mask.array, axis=-1) - 1, 0, None))
