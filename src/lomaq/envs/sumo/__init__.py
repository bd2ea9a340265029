"""Traffic signals on the simulator SUMO; imports nothing, since simulators' processes must not wait for torch."""
