"""From raw material to audited shards: plans, tasks, commits, engines and recipes."""
