"""Certificates of what makes a run's block values: a mixer, or the critics of an actor-critic."""
