from torch.utils.data import DataLoader as StatefulDataLoader  # noqa: F401
