"""What the demo asks the machine."""

import datetime
import socket
import subprocess


def when(text):
    """Seconds since 1970 of the API's time."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def gpu_memory():
    """MiB in use on each GPU, or None where nvidia-smi is not there or finds none."""
    try:
        done = subprocess.run(["nvidia-smi", "--query-gpu=index,memory.used", "--format=csv,noheader,nounits"],
                              capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0 or not done.stdout.strip():
        return None
    return {gpu: int(mib) for gpu, mib in (line.split(", ") for line in done.stdout.splitlines())}
