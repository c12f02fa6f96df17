class Dataset:
    pass


class DataLoader:
    """Batches in the sampler's order; no worker processes."""

    def __init__(self, dataset, batch_size=1, shuffle=False, sampler=None, num_workers=0, collate_fn=None,
                 drop_last=False):
        assert not shuffle, "the original shuffles by its sampler"
        self.dataset, self.batch_size, self.collate_fn, self.drop_last = dataset, batch_size, collate_fn, drop_last
        self.order = list(sampler) if sampler is not None else list(range(len(dataset)))

    def __len__(self):
        whole, rest = divmod(len(self.order), self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    def __iter__(self):
        for i in range(len(self)):
            indices = self.order[i * self.batch_size:(i + 1) * self.batch_size]
            yield self.collate_fn([self.dataset[index] for index in indices])
