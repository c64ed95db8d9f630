"""What people see of a run: the live display, the log of its values, the curves."""
