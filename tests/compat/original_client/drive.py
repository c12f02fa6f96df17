"""Uses the original's client modules, unchanged, for what its programs do not show by themselves; run by the cases
with their interpreter and paths. `drive.py COMMAND SCHEDULER_URL KEY|- [ARGUMENT]`:

    reward      a job with the original's reward server beside it, kept until a signal comes
    register    the original's registration example, for the user ARGUMENT
    inference   the calls of InferenceSchedulerClient, one after the other; prints their answers as JSON
    application the original's HTTP application at the port ARGUMENT, with a scheduler behind it that only says QUEUED
    users       makes ARGUMENT, a database with an admin and two users, by the original's UserManager; prints the keys
"""
import json
import os
import signal
import sys

command, url, key = sys.argv[1:4]
key = None if key == "-" else key


def reward():
    from opentinker.client.utils.http_training_client import SchedulerClient
    from opentinker.client.utils.scheduler_client_lifecycle import get_lifecycle_manager
    import opentinker

    lifecycle = get_lifecycle_manager()
    client = SchedulerClient(scheduler_url=url, api_key=key)
    job = client.submit_job(config={}, num_gpus=2)
    lifecycle.register_job(client, job["job_id"])
    path = os.path.join(os.path.dirname(opentinker.__file__), "reward_functions", "math_reward_server.py")
    process, port = lifecycle.start_reward_server(reward_server_path=path, reward_ip="127.0.0.1")
    print(json.dumps({"job": job["job_id"], "pid": process.pid, "port": port}), flush=True)
    signal.pause()


def register():
    from opentinker.scheduler import register_user_example

    register_user_example.SCHEDULER_URL = url
    register_user_example.main()


def inference():
    import requests
    from opentinker.client.utils.http_training_client import InferenceSchedulerClient

    def refused(call, *arguments):
        try:
            call(*arguments)
        except requests.exceptions.HTTPError as error:
            return error.response.status_code
        return None

    client = InferenceSchedulerClient(scheduler_url=url, api_key=key, poll_interval=0.1)
    first = client.submit_inference_job("org/model", tensor_parallel_size=2, max_model_len=128)
    answers = {"first": first, "status": client.get_job_status(first["job_id"]),
               "complete": client.complete_job(first["job_id"]), "cancel": client.cancel_job(first["job_id"])}
    second = client.submit_inference_job("org/model", tokenizer_path="org/tokens", num_gpus=0, trust_remote_code=False)
    answers["second"] = second
    answers["cancelled"] = client.cancel_job(second["job_id"])
    answers["again"] = client.complete_job(second["job_id"])
    answers["unknown"] = client.cancel_job("00000000")
    answers["no_status"] = refused(client.get_job_status, "00000000")
    answers["too_many"] = refused(client.submit_inference_job, "org/model", None, 5)
    print(json.dumps(answers))


def application():
    import tempfile
    import uvicorn
    from opentinker.scheduler.job_scheduler import create_app
    from opentinker.scheduler.user_management import UserManager

    class Call:
        def __init__(self, answer):
            self.remote = answer

    class Scheduler:
        submit_job = submit_inference_job = Call(
            lambda **_: {"job_id": "00000001", "status": "QUEUED", "message": "Job queued (position 1)"})
        get_job_status = Call(lambda job: None)
        list_jobs = Call(lambda user_id: [])
        cancel_job = complete_job = Call(
            lambda job, user_id: {"job_id": job, "status": "NOT_FOUND", "message": "Job not found"})

    users = UserManager(os.path.join(tempfile.mkdtemp(dir="."), "users.db"))
    print(users.register_user("bob").api_key, flush=True)
    uvicorn.run(create_app(Scheduler(), users, enable_auth=True), host="127.0.0.1", port=int(sys.argv[4]))


def users():
    from opentinker.scheduler.user_management import UserManager

    manager = UserManager(sys.argv[4])
    made = [manager.create_default_admin(), manager.register_user("dave"), manager.register_user("Carla Müller")]
    print(json.dumps({one.username: one.api_key for one in made}))


{"reward": reward, "register": register, "inference": inference, "application": application,
 "users": users}[command]()
