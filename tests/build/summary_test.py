"""What scripts/test_summary.py makes of the reports that sanitizers leave."""
import pathlib
import subprocess
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "test_summary.py"
JUNIT = '<testsuite><testcase name="one" status="run"/></testsuite>'
KILLED = "==ebb-keeper==21950==Unable to get registers from thread 21941.\n"


class Reports(unittest.TestCase):
    def summary(self, report):
        with tempfile.TemporaryDirectory() as folder:
            junit, file = pathlib.Path(folder) / "test.xml", pathlib.Path(folder) / "report.ebb.1"
            junit.write_text(JUNIT)
            file.write_text(report)
            done = subprocess.run(["/usr/bin/python3", SCRIPT, junit, file], capture_output=True, text=True)
            return done.returncode, done.stdout.splitlines()[-1]

    def test_a_finding_is_a_failure(self):
        for report in ("==7==ERROR: LeakSanitizer: detected memory leaks\n", "keeper.cc:1:2: runtime error: shift\n",
                       KILLED + "==21941==ERROR: LeakSanitizer: detected memory leaks\n", "something else\n"):
            self.assertEqual(self.summary(report), (1, "1 passed, 1 failed, 0 skipped"), report)

    def test_a_process_that_was_killed_while_it_looked_for_leaks_has_none(self):
        for report in ("", KILLED, KILLED * 2):
            self.assertEqual(self.summary(report), (0, "1 passed, 0 failed, 0 skipped"), report)


if __name__ == "__main__":
    unittest.main()
