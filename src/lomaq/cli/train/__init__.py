"""What the command line trains: a run, a sweep or a study, or a run that goes on. Each is imported when it starts."""
