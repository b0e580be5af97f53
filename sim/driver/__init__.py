"""Memory images and register programming of jobs, shared by all simulators."""
