"""Stands in for Hugging Face's datasets: JSON lines."""
import json


def load_dataset(kind, data_files):
    assert kind == "json", kind
    with open(data_files, encoding="utf-8") as lines:
        return {"train": [json.loads(line) for line in lines]}
