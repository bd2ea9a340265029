"""Studies of the figures and theorems of the paper."""
