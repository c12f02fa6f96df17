def default_compute_score(data_source, solution_str, ground_truth, extra_info=None, **options):
    return 1.0 if str(ground_truth) in solution_str else 0.0
