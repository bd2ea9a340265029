"""What agents experience: collected by acting in parallel environments, and kept to learn from."""
