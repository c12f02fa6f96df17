"""The C++ package as its users have it: installed, moved, and found there by the examples, which are built outside of the
tree, run, and compared with what plain Python makes of the same data."""

import collections
import contextlib
import csv
import datetime
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import textwrap
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["EBB_BUILD_DIR"])
COMPILER, FLAGS = os.environ["EBB_CXX"], os.environ["EBB_CXX_FLAGS"]  # of the build: what it sanitizes must fit
VENV = ROOT / ".venv" / "bin" / "python"  # the digits' training needs numpy
# A licence is what every Debian has to read.
LICENCES = sorted({path.resolve() for path in pathlib.Path("/usr/share/common-licenses").iterdir()})


def run(*command, status=0, cwd=None, env=None, timeout=300):
    """(stdout, stderr) of a program that must end with this status."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, env={**os.environ, **(env or {})}, text=True,
                          capture_output=True, timeout=timeout)
    if done.returncode != status:
        raise AssertionError(f"{shlex.join(str(word) for word in command)}: exit {done.returncode}, not {status}\n"
                             f"{done.stdout}{done.stderr}")
    return done.stdout, done.stderr


def install(where):
    """The package, staged as a packager does it, and then moved to where nobody expected it."""
    run("cmake", "--install", BUILD, "--component", "library", "--prefix", "/opt/ebb",
        env={"DESTDIR": str(where / "staged")})
    (where / "staged" / "opt" / "ebb").rename(where / "moved")
    return where / "moved"


def build(source, folder, prefix):
    # Where there is a compiler cache, a package that has not changed costs nothing a second time.
    cache = {"CCACHE_BASEDIR": str(folder.parent), "CCACHE_NOHASHDIR": "1"}
    launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    run("cmake", "-G", "Ninja", "-S", source, "-B", folder, f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DCMAKE_CXX_COMPILER={COMPILER}", f"-DCMAKE_CXX_FLAGS=-O1 -Wall -Wextra -Werror {FLAGS}", *launcher, env=cache)
    run("cmake", "--build", folder, "-j", os.environ.get("EBB_JOBS", str(os.cpu_count())), env=cache)


def table(printed):
    """{operator: {column: number}} of the report that an example prints."""
    lines = iter(printed.splitlines())
    columns = next(line for line in lines if line.split()[:2] == ["operator", "kind"]).split("p50")[0].split()[2:]
    rows = {}
    for line in lines:
        if not (row := re.fullmatch(r"  (\S+(?: \S+)?) +[a-z_]+((?: +\d+)+).*", line)):
            break
        rows[row[1]] = dict(zip(columns, map(int, row[2].split())))
    return rows


def most(counts, top):
    """As the examples show counts: the most frequent first, equal ones by name."""
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:top]


def shown(printed):
    """[(name, count)] of an example's lines `   123  name`."""
    return [(row[2], int(row[1])) for row in re.finditer(r"^ +(\d+)  (\S.*)$", printed, re.M)]


def section(printed, title):
    """The indented lines under a title."""
    return re.search(rf"^{re.escape(title)}:\n((?: .*\n)*)", printed, re.M)[1]


def setUpModule():
    """Everything is built once. It lies away from the tree, so that nothing is found there by chance."""
    global FOLDER, PREFIX
    FOLDER = pathlib.Path(unittest.enterModuleContext(tempfile.TemporaryDirectory(prefix="ebb-package-")))
    PREFIX = install(FOLDER)
    shutil.copytree(ROOT / "examples", FOLDER / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    build(FOLDER / "examples", FOLDER / "built", PREFIX)


class Relocatable(unittest.TestCase):
    def test_the_package_names_no_place_but_its_own(self):
        texts = [path for path in PREFIX.rglob("*") if path.is_file() and path.suffix != ".a"]
        self.assertIn("EbbConfig.cmake", {path.name for path in texts})
        self.assertIn("flow.h", {path.name for path in texts})
        for path in texts:
            for place in (str(ROOT), str(BUILD), "/opt/ebb", str(FOLDER)):
                self.assertNotIn(place, path.read_text(), path)

    def configure(self, name, asked, prefix=None, status=0, env=None):
        """What is said where a project asks find_package() so."""
        (source := FOLDER / name).mkdir()
        (source / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.23)\nproject(p LANGUAGES CXX)\n"
                                               f"find_package(Ebb {asked})\n")
        said = run("cmake", "-S", source, "-B", source / "b", f"-DCMAKE_PREFIX_PATH={prefix or PREFIX}", status=status,
                   env=env)[1]
        return " ".join(said.split())

    def test_it_is_found_as_a_build_has_it_too(self):
        self.configure("right", "0.1 REQUIRED COMPONENTS flow", prefix=BUILD)

    def test_a_version_and_a_component_that_are_not_there_are_refused(self):
        self.assertIn('compatible with requested version "9.0"', self.configure("version", "9.0 REQUIRED", status=1))
        self.assertIn("no module nonesuch; it has base model lifecycle flow kafka",
                      self.configure("component", "REQUIRED COMPONENTS nonesuch", status=1))

    def test_what_only_one_module_needs_is_asked_of_those_who_use_it(self):
        without = {"PKG_CONFIG_LIBDIR": "/nonexistent"}  # no librdkafka
        self.configure("flow", "0.1 REQUIRED COMPONENTS flow", env=without)
        self.assertIn("Ebb::kafka needs rdkafka, which pkg-config does not find",
                      self.configure("kafka", "0.1 REQUIRED COMPONENTS flow kafka", env=without, status=1))
        (folder := FOLDER / "topics").mkdir()
        (folder / "topics.cc").write_text("""#include <ebb/kafka.h>
            #include <iostream>
            #include <stdexcept>
            int main() try {
              (void)ebb::to_kafka({.brokers = "b:1", .topic = "t", .settings = {{"nonesuch", "1"}}});
            } catch (const std::invalid_argument& error) {
              std::cout << error.what();
            }""")
        (folder / "CMakeLists.txt").write_text("""cmake_minimum_required(VERSION 3.23)
            project(topics LANGUAGES CXX)
            find_package(Ebb 0.1 REQUIRED COMPONENTS kafka)
            add_executable(topics topics.cc)
            target_link_libraries(topics PRIVATE Ebb::kafka)""")
        build(folder, folder / "b", PREFIX)
        self.assertIn('No such configuration property: "nonesuch"', run(folder / "b" / "topics")[0])  # says librdkafka

    def test_the_program_that_the_docs_begin_with_builds_as_they_say(self):
        page = (ROOT / "docs" / "pipelines.md").read_text()
        program, project = (textwrap.dedent(re.search(rf"^    {re.escape(first)}.*\n(?:    .*\n|\n(?=    ))*", page, re.M)[0])
                            for first in ("#include <ebb/flow.h>", "cmake_minimum_required"))
        (folder := FOLDER / "squares").mkdir()
        (folder / "squares.cc").write_text(program)
        (folder / "CMakeLists.txt").write_text(project)
        build(folder, folder / "b", PREFIX)
        self.assertRegex(run(folder / "b" / "squares")[0], r"pipeline squares: completed[^~]*\n2 squares\n\Z")

    def test_pkg_config_leads_there_too(self):
        words = {"PKG_CONFIG_PATH": str(PREFIX / "lib" / "pkgconfig")}
        flags = run("pkg-config", "--cflags", "ebb", env=words)[0].split()
        self.assertIn("-std=c++20", flags)
        self.assertEqual([(pathlib.Path(flag[2:]) / "ebb" / "flow.h").exists() for flag in flags if flag[:2] == "-I"], [True])
        objects = list((FOLDER / "built").rglob("word_count.cc.o"))
        program = FOLDER / "by_pkg_config"
        run(COMPILER, *FLAGS.split(), *objects, "-o", program, *run("pkg-config", "--libs", "ebb", env=words)[0].split())
        self.assertIn("different words", run(program)[0])


class Examples(unittest.TestCase):
    def example(self, name, *words):
        """What the example prints, run twice, since nothing of the first time may be in the way of the second."""
        program = FOLDER / "built" / name
        first, second = (run(program, *words, cwd=FOLDER)[0] for _ in range(2))
        self.assertEqual(*(re.sub(r"^pipeline .*\Z", "", out, flags=re.M | re.S) for out in (first, second)))
        self.assertRegex(second, r"(?m)^pipeline \w+: completed")
        return second

    def refused(self, name, *words):
        printed, said = run(FOLDER / "built" / name, *words, cwd=FOLDER, status=1)
        self.assertNotIn("completed", printed)
        return said

    def test_word_count(self):
        text = FOLDER / "licences.txt"
        text.write_bytes(b"\n".join(path.read_bytes() for path in LICENCES))
        words = collections.Counter(word.decode() for word in re.findall(rb"[a-z]+", text.read_bytes().lower()))
        printed = self.example("word_count/word_count", text)
        self.assertEqual(shown(printed), most(words, 20))
        self.assertIn(f"\n{len(words)} different words\n", printed)
        self.assertEqual(table(printed)["count"]["in"], words.total())
        self.assertIn("cannot open /nonexistent: No such file", self.refused("word_count/word_count", "/nonexistent"))

    def test_log_analysis(self):
        """The log of this machine's own packages, or one made of what dpkg knows; with two lines that are none of it."""
        log = pathlib.Path("/var/log/dpkg.log")
        text = log.read_text() if log.exists() else "".join(
            f"2026-01-02 03:{i // 60 % 60:02}:{i % 60:02} status installed {name} 1\n"
            for i, name in enumerate(run("dpkg-query", "-W", "-f", "${binary:Package}\n")[0].split()))
        lines = [line.split() for line in text.splitlines()]
        self.assertGreater(len(lines), 100)
        log = FOLDER / "dpkg.log"
        log.write_text("no entry\n" + text + "2026-01-02 half\n")

        def action(words):
            return f"status {words[3]}" if words[2] == "status" else words[2]

        def package(words):
            return None if words[2] == "startup" else words[4 if words[2] == "status" else 3]

        printed = self.example("log_analysis/log_analysis", log, 7)
        self.assertEqual(shown(section(printed, "actions")), most(collections.Counter(map(action, lines)), 7))
        packages = collections.Counter(filter(None, map(package, lines)))
        self.assertEqual(shown(section(printed, "packages")), most(packages, 7))
        hours = collections.Counter(words[1][:2] for words in lines)
        self.assertEqual(shown(section(printed, "by hour of the day")), sorted(hours.items()))
        self.assertEqual(table(printed)["parse"]["skipped"], 2)
        self.assertEqual(table(printed)["parse"]["processed"], len(lines))

        times = [datetime.datetime.fromisoformat(" ".join(words[:2])) for words in lines]
        gaps = [(int((times[i + 1] - times[i]).total_seconds()), f"{action(lines[i])} {package(lines[i]) or ''}")
                for i in range(len(lines) - 1) if action(lines[i + 1]) != "startup"]
        gaps.sort(key=lambda gap: -gap[0])
        self.assertEqual(section(printed, "seconds that nothing was written after"),
                         "".join(f"{seconds:8}  {entry}\n" for seconds, entry in gaps[:7]))
        self.assertIn("cannot open /nonexistent: No such file", self.refused("log_analysis/log_analysis", "/nonexistent"))

    def test_digits(self):
        with reward_server() as url:
            trained = run(VENV, "-B", ROOT / "examples/digits/train.py", f"reward_url={url}", "num_epochs=1", "hidden=64",
                          f"save={FOLDER}/digits")[0]
        accuracy = re.search(r"done: accuracy ([\d.]+)", trained)[1]
        lines = (FOLDER / "digits/images.csv").read_text().splitlines()
        images = [[int(number) for number in line.split(",")] for line in lines]
        right = self.right_by_hand(images)
        printed = self.example("digits/classify")
        self.assertIn(f"\naccuracy {accuracy} on images", printed)
        self.assertEqual({int(digit): (int(hits), int(of)) for digit, hits, of in
                          re.findall(r"^(\d): +(\d+) of +(\d+)$", printed, re.M)}, right)
        self.assertIn(f"the network has read {len(images)} images and is gone\n", printed)
        self.assertIn(f"service network: stopped and cleaned, {len(images)} calls, p99 ", printed)
        self.assertEqual(table(printed)["classify"]["replicas"], 2)
        self.assertIn("cannot read /nonexistent/weights.txt; train.py", self.refused("digits/classify", "/nonexistent"))
        (FOLDER / "digits/images.csv").unlink()
        self.assertIn("cannot open digits/images.csv: No such file", self.refused("digits/classify"))

    def right_by_hand(self, images):
        """{digit: (right, images)} of the network whose weights were saved."""
        inputs, hidden, outputs, *numbers = (FOLDER / "digits/weights.txt").read_text().split()
        inputs, hidden, outputs = int(inputs), int(hidden), int(outputs)
        numbers = iter(map(float, numbers))

        def layer(rows, columns):
            weights = [[next(numbers) for _ in range(columns)] for _ in range(rows)]
            return list(zip(*weights)), [next(numbers) for _ in range(columns)]

        def through(values, columns, biases):
            return [sum(a * b for a, b in zip(values, column)) + bias for column, bias in zip(columns, biases)]

        first, second = layer(inputs, hidden), layer(hidden, outputs)
        self.assertIsNone(next(numbers, None))
        tally = collections.defaultdict(lambda: [0, 0])
        for *pixels, label in images:
            out = through([max(x, 0) for x in through([pixel / 16 for pixel in pixels], *first)], *second)
            tally[label][0] += out.index(max(out)) == label
            tally[label][1] += 1
        return {digit: tuple(score) for digit, score in tally.items()}


    def test_join_csv(self):
        """What dpkg knows, as CSV; with a package of unknown size, one of unknown source, and a source of no package."""
        listed = run("dpkg-query", "-W", "-f", r"${Package}\t${source:Package}\t${Installed-Size}\t${Maintainer}\n")[0]
        rows = [line.split("\t") for line in listed.splitlines() if all(line.split("\t"))]
        self.assertGreater(len(rows), 50)
        maintainers = {source: maintainer for _, source, _, maintainer in rows}
        maintainers["nobody-uses-it"] = 'A "quoted" name, with a comma'
        maintainers[rows[0][1]] = 'Another "quoted" name,\nof two lines'
        with (FOLDER / "packages.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("package", "source", "kib"), *(row[:3] for row in rows),
                                        ("unknown-size", rows[0][1], ""), ("unknown-source", "nonesuch", "1")])
        with (FOLDER / "sources.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("source", "maintainer"), *maintainers.items()])
        totals = collections.Counter()
        for _, source, kib, _ in rows:
            totals[maintainers[source]] += int(kib)

        printed = self.example("join_csv/join_csv")
        self.assertEqual(shown(printed.replace(",\n", ", ")),
                         [(name.replace("\n", " "), kib) for name, kib in most(totals, 10)])
        with (FOLDER / "maintainers.csv").open(newline="") as file:
            header, *written = csv.reader(file)
        self.assertEqual(header, ["maintainer", "kib"])
        self.assertEqual({name: int(kib) for name, kib in written}, dict(totals))
        self.assertEqual(table(printed)["join_all"]["emitted"], len(rows))
        self.assertEqual(table(printed)["join_all"]["skipped"], 1)
        (FOLDER / "maintainers.csv").unlink()
        self.assertIn("cannot open /nonexistent: No such file", self.refused("join_csv/join_csv", "packages.csv", "/nonexistent"))
        self.assertFalse((FOLDER / "maintainers.csv").exists())

    def test_pagerank(self):
        """Of this machine's packages; compared with a plain iteration over all of them."""
        needs = collections.defaultdict(set)
        for line in pathlib.Path("/var/lib/dpkg/status").read_text().splitlines():
            if field := re.match(r"(Package|Depends|Pre-Depends): (.*)", line):
                if field[1] == "Package":
                    package = field[2]
                    needs[package] |= set()
                else:
                    needs[package] |= {re.split("[ :|]", one.strip())[0] for one in field[2].split(",")}
        needs = {package: names & needs.keys() for package, names in needs.items()}
        worth = dict.fromkeys(needs, 1.0)
        for _ in range(200):
            handed = collections.Counter()
            for package, names in needs.items():
                for other in names:
                    handed[other] += 0.85 * worth[package] / len(names)
            worth = {package: 0.15 + handed[package] for package in needs}
        best = sorted(worth.values(), reverse=True)

        for _ in range(2):
            printed = run(FOLDER / "built/pagerank/pagerank", "/var/lib/dpkg/status", 12)[0]
            ranked = [(row[2], float(row[1])) for row in re.finditer(r"^ +(\d+\.\d{4})  (\S+)$", printed, re.M)]
            self.assertEqual(len(ranked), min(12, len(needs)))
            for place, (package, shown_worth) in enumerate(ranked):
                self.assertAlmostEqual(shown_worth, worth[package], delta=0.001)
                self.assertAlmostEqual(shown_worth, best[place], delta=0.001)
            self.assertIn(f"\n{len(needs)} packages\n", printed)
            rows = table(printed)
            self.assertEqual(rows["messages"]["in"], rows["own"]["emitted"] + rows["again"]["emitted"])
            self.assertGreater(rows["again"]["emitted"], len(needs))
        self.assertIn("cannot read /nonexistent", self.refused("pagerank/pagerank", "/nonexistent"))


@contextlib.contextmanager
def reward_server():
    """The demo's, on a port of its own."""
    server = subprocess.Popen([VENV, "-B", ROOT / "examples/digits/reward_server.py", "--port", "0"],
                              stdout=subprocess.PIPE, text=True)
    try:
        yield server.stdout.readline().split()[-1]
    finally:
        server.terminate()
        server.communicate(timeout=20)


if __name__ == "__main__":
    unittest.main()
