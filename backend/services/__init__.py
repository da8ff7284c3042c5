"""Services: what should run (model, instances, quota, tokens) and what the hosts report of it."""
