"""Jobs that end before anybody has looked: their clients see the end all the same."""

import unittest

import harness


class ShortJobs(harness.Case):
    def test_an_attached_job_that_ends_before_its_owner_streams_is_told_as_it_ended(self):
        # The job may be over in the daemon's memory while its end is still on the way to the disk.
        daemon = self.daemon(gpus="none", listen="none")
        for number in range(200):
            done = daemon.ebb("run", "-q", "--", ("true", "false")[number % 2])
            self.assertEqual((done.returncode, done.stdout, done.stderr), (number % 2, "", ""))


if __name__ == "__main__":
    harness.main()
