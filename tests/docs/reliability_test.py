"""Each test that docs/reliability.md names is there."""

import fnmatch
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "faults"))
import cases  # noqa: E402


class Reliability(unittest.TestCase):
    def setUp(self):
        self.page = (ROOT / "docs" / "reliability.md").read_text()

    def test_every_named_integration_test_exists(self):
        there = "".join(path.read_text() for path in (ROOT / "tests" / "integration").glob("*_test.py"))
        named = set(re.findall(r"`(test_\w+)`", self.page))
        self.assertGreater(len(named), 50)
        self.assertEqual({name for name in named if f"def {name}(" not in there}, set())
        for name in re.findall(r"`(test_\w+)…`", self.page):
            self.assertIn(f"def {name}", there)

    def test_every_named_unit_test_exists(self):
        there = "".join(path.read_text() for path in (ROOT / "modules").glob("*/tests/*_test.cc"))
        there = set(re.findall(r"^TEST(?:_F|_P)?\((\w+), (\w+)\)", there, re.M))
        suite = None
        found = re.findall(r"`(\w*)\.(\w+|\*)`", self.page)
        self.assertGreater(len(found), 40)
        for named, name in found:
            suite = named or suite
            with self.subTest(suite=suite, name=name):
                self.assertTrue(any(one == suite and name in ("*", other) for one, other in there))

    def test_every_named_part_of_the_matrix_has_cases(self):
        names = [one.name for one in cases.matrix()]
        patterns = re.findall(r"`(\*/[\w*+-]+)`", self.page)
        self.assertGreater(len(patterns), 8)
        self.assertEqual([one for one in patterns if not fnmatch.filter(names, one)], [])


if __name__ == "__main__":
    unittest.main()
