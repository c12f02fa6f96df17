#!/usr/bin/env python3
"""Counts what ctest ran, from its JUnit file, and names every failure and every skip with its reason.

    test_summary.py JUNIT.xml [REPORT...]

A Python script that runs many unittest cases is one ctest test; here each of its cases counts. Each REPORT of a
sanitizer is a failure too, unless all that it says is that its process was killed. The last line is
`N passed, N failed, N skipped`; exit 1 when anything failed or nothing passed.
"""

import re
import sys
import xml.etree.ElementTree as ElementTree

UNITTEST_RAN = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
UNITTEST_END = re.compile(r"^(?:OK|FAILED)(?: \((.*)\))?$", re.MULTILINE)
UNITTEST_SKIP = re.compile(r"^(test\w+|setUp\w+) ?(?:\(.*?\))?(?:\n.*?)? \.\.\. skipped (['\"])(.*)\2$", re.MULTILINE)
GTEST_SKIP = re.compile(r": Skipped\n(.*)")

# What LeakSanitizer says when its process is killed while it looks for leaks, as tests kill: that the thread has gone.
# Where the kill comes a moment earlier, the file is there and empty. Whatever else it finds it says below.
KILLED = re.compile(r"(==\S*\d+==Unable to get registers from thread \d+\.\n)*")


def is_finding(report):
    with open(report, errors="replace") as file:
        return not KILLED.fullmatch(file.read())


class Count:
    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []  # (name, reason)

    def add(self, case):
        name, status = case.get("name"), case.get("status")
        output = case.findtext("system-out") or ""
        ran, end = UNITTEST_RAN.search(output), UNITTEST_END.search(output)
        if ran and end:
            self.add_unittest(name, int(ran.group(1)), end.group(1) or "", output, status)
        elif status == "run":
            self.passed += 1
        elif status in ("notrun", "disabled"):
            reason = GTEST_SKIP.search(output)
            message = getattr(case.find("skipped"), "attrib", {}).get("message", "")
            # A program that was not built is no skip: the test was meant to run.
            if reason or "SKIP" in message or status == "disabled":
                self.skipped.append((name, reason.group(1).strip() if reason else message or "disabled"))
            else:
                self.failed.append(f"{name}: did not run: {message}")
        else:
            self.failed.append(name)

    def add_unittest(self, name, ran, end, output, status):
        numbers = {key: int(value) for key, value in re.findall(r"([\w ]+?)=(\d+)", end.replace(", ", ","))}
        bad = sum(numbers.get(key, 0) for key in ("failures", "errors", "unexpected successes"))
        if status != "run":
            bad = max(bad, 1)
        skips = UNITTEST_SKIP.findall(output)
        for case, _, reason in skips:
            self.skipped.append((f"{name}: {case}", reason))
        for number in range(len(skips), numbers.get("skipped", 0)):
            self.skipped.append((f"{name}: case {number + 1}", "reason not found in its output"))
        self.failed += [f"{name}" if bad == 1 else f"{name} ({number + 1} of {bad})" for number in range(bad)]
        self.passed += max(0, ran - bad - numbers.get("skipped", 0))


def main() -> int:
    count = Count()
    junit, *reports = sys.argv[1:]
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        count.add(case)
    count.failed += [f"a sanitizer's report: {report}" for report in reports if is_finding(report)]
    for name in count.failed:
        print(f"failed: {name}")
    for name, reason in count.skipped:
        print(f"skipped: {name}: {reason}")
    print(f"{count.passed} passed, {len(count.failed)} failed, {len(count.skipped)} skipped")
    return 1 if count.failed or count.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
