"""Each test that docs/bad-input.md names is there."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class BadInput(unittest.TestCase):
    def test_every_named_test_exists(self):
        page = (ROOT / "docs" / "bad-input.md").read_text()
        there = "".join(path.read_text() for path in sorted((ROOT / "tests" / "integration").glob("*_test.py")))
        named = set(re.findall(r"`(?:\w+\.)?(test_\w+)`", page))
        self.assertGreater(len(named), 30)
        self.assertEqual({name for name in named if f"def {name}(" not in there}, set())
        units = re.findall(r"`(\w+)/(\w+)\.(\w+|\*)`", page)
        self.assertTrue(units)
        for module, suite, name in units:
            text = "".join(path.read_text() for path in (ROOT / "modules" / module / "tests").glob("*_test.cc"))
            self.assertIn(f"TEST({suite}, {'' if name == '*' else name}", text, (module, suite, name))


if __name__ == "__main__":
    unittest.main()
