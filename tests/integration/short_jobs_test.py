"""Jobs that end before anybody has looked: their clients see the end all the same."""

import concurrent.futures
import unittest

import harness


class ShortJobs(harness.Case):
    def test_an_attached_job_that_ends_before_its_owner_streams_is_told_as_it_ended(self):
        # The job may be over in the daemon's memory while its end is still on the way to the disk.
        daemon = self.daemon(gpus="none", listen="none")
        for number in range(200):
            done = daemon.ebb("run", "-q", "--", ("true", "false")[number % 2])
            self.assertEqual((done.returncode, done.stdout, done.stderr), (number % 2, "", ""))

    def test_a_crowd_of_clients_each_sees_its_own_end(self):
        # Clients, keepers and side processes end all the time, many at once: no other's end is taken for one's own.
        daemon = self.daemon(gpus="none", listen="none")
        run = lambda _: daemon.ebb("run", "-q", "--sidecar", "side=exec sleep 1000", "--", "true")
        with concurrent.futures.ThreadPoolExecutor(6) as crowd:
            for done in crowd.map(run, range(180)):
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


if __name__ == "__main__":
    harness.main()
