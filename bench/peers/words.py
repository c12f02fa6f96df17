"""words.py FILE: the number of words, and of different ones, as one writes it in Python."""

import collections
import re
import sys

words = collections.Counter()
with open(sys.argv[1], "rb") as file:
    for line in file:
        words.update(re.findall(rb"[a-z]+", line.lower()))
print(words.total(), len(words))
