"""Many runs: their plan, how they are run, and the report."""
