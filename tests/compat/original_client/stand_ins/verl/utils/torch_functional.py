import numpy as np
from torch import Tensor


def postprocess_data(input_ids, attention_mask, max_length, pad_token_id, left_pad, truncation):
    assert left_pad and truncation == "right"
    missing = max(0, max_length - input_ids.shape[1])
    padded = [np.pad(one.array[:, :max_length], ((0, 0), (missing, 0)), constant_values=fill)
              for one, fill in ((input_ids, pad_token_id), (attention_mask, 0))]
    return Tensor(padded[0]), Tensor(padded[1])
