class Tracking:
    def __init__(self, project_name, experiment_name, default_backend, config=None):
        self.name = f"{project_name}/{experiment_name}"

    def log(self, data, step):
        print(f"{self.name} step {step}: {data}", flush=True)
