# For Windows, where this package does not run.
