"""A command in a terminal of its own, driven as a person would drive it."""

import errno
import os
import pty
import re
import select
import signal
import threading


class Failed(Exception):
    """The demo cannot go on."""


def say(text="", end="\n"):
    print(text, end=end, flush=True)


class Terminal:
    """A command in a terminal of its own, as a person would have it open; its lines are shown with a name before them.

    The command leads the terminal's session, so that Ctrl+C is the byte that a keyboard sends, not a signal of ours.
    """

    def __init__(self, name, command, env):
        self.name = name
        self._lines = []
        self._changed = threading.Condition()
        self._ended = False
        self.pid, self._keyboard = pty.fork()
        if self.pid == 0:
            try:
                os.execve(command[0], command, env)
            except OSError as error:
                os.write(2, f"{command[0]}: {error}\n".encode())
            os._exit(127)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.status = None

    def _read(self):
        rest = b""
        while True:
            try:
                got = os.read(self._keyboard, 65536)
            except OSError as error:
                if error.errno != errno.EIO:  # EIO: nobody has the terminal open any longer
                    raise
                got = b""
            *lines, rest = (rest + got).split(b"\n")
            if not got and rest:
                lines.append(rest)
            for line in lines:
                text = line.decode(errors="replace").rstrip("\r")
                say(f"   {self.name} | {text}")
                with self._changed:
                    self._lines.append(text)
                    self._changed.notify_all()
            if not got:
                break
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def expect(self, pattern, seconds):
        """The match in the first line that has one, from the beginning; raises Failed when it does not come."""
        def found():
            return next(filter(None, (re.search(pattern, line) for line in self._lines)), None)
        with self._changed:
            self._changed.wait_for(lambda: found() or self._ended, seconds)
            if not (match := found()):
                raise Failed(f"{self.name} did not say '{pattern}' {'before it ended' if self._ended else 'in time'}")
            return match

    def control_c(self):
        os.write(self._keyboard, b"\x03")

    def wait(self, seconds):
        """The exit status as a shell would say it; also makes sure that all output was shown."""
        if self.status is None:
            pidfd = os.pidfd_open(self.pid)
            try:
                if not select.select([pidfd], [], [], seconds)[0]:
                    raise Failed(f"{self.name} did not end within {seconds} s")
            finally:
                os.close(pidfd)
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self.status = code if code >= 0 else 128 - code
            self._reader.join(5)
        return self.status

    def close(self):
        """Ends the command as a closed window would, and waits for it."""
        if self.status is None:
            os.kill(self.pid, signal.SIGHUP)
            self.wait(30)
