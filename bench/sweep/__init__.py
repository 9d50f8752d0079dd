"""Many runs as one resumable job: `job` where each stands, `engine` who runs it, `sweep` the loop, `table` its view."""
