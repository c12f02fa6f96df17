"""docs/architecture.md's table of modules says what the build files say, and every link within the docs leads somewhere."""

import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def modules_of_the_build():
    """{module: (layer, {modules that it names})}, from the calls of ebb_module()."""
    found = {}
    for path in sorted((ROOT / "modules").glob("*/CMakeLists.txt")):
        call = re.search(r"^ebb_module\((.*?)\)", path.read_text(), re.MULTILINE | re.DOTALL)
        section, layer, uses = None, None, set()
        name, *words = call.group(1).split()
        for word in words:
            if word.isupper() or "_" in word and word.upper() == word:
                section = word
            elif section == "LAYER":
                layer = int(word)
            elif section in ("PUBLIC", "PRIVATE"):
                uses.add(word)
        found[name] = (layer, uses)
    return found


def modules_of_the_table():
    found = {}
    for line in (ROOT / "docs" / "architecture.md").read_text().splitlines():
        row = re.fullmatch(r"\| (\d) \| (\w+) \| ([\w –]*) \| .* \|", line)
        if row:
            found[row.group(2)] = (int(row.group(1)), set(row.group(3).replace("–", "").split()))
    return found


class Architecture(unittest.TestCase):
    maxDiff = None

    def test_the_table_is_what_the_build_enforces(self):
        self.assertEqual(modules_of_the_table(), modules_of_the_build())

    def test_each_module_says_in_one_sentence_what_it_is_for(self):
        for path in sorted((ROOT / "modules").glob("*/CMakeLists.txt")):
            self.assertRegex(path.read_text(), rf"\A# {path.parent.name}: .+\n", str(path))


class Links(unittest.TestCase):
    def test_each_relative_link_leads_to_a_file(self):
        listed = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "ls-files", "*.md"], cwd=ROOT,
                                capture_output=True, text=True, check=True).stdout.split()
        broken = []
        for name in listed:
            text = re.sub(r"^    .*$|`[^`\n]*`", "", (ROOT / name).read_text(), flags=re.M)  # code has brackets too
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
                if "://" not in target and not ((ROOT / name).parent / target).exists():
                    broken.append(f"{name}: {target}")
        self.assertEqual(broken, [])
        self.assertGreater(len(listed), 3)


if __name__ == "__main__":
    unittest.main()
