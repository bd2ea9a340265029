"""What an episode cost its vehicles, from the trips that SUMO writes when it is closed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from defusedxml import ElementTree

#: Names of the metrics of an episode.
METRICS = ("delay_all", "delay", "unfinished")


def episode_metrics(trips: Path, ignore_edges: Collection[str] = (), ignored: Collection[str] = ()) -> dict[str, float]:
    """Delays and unfinished vehicles.

    A vehicle's delay is the time that it lost under way against its wished speed, and its wait to enter the network.

    Args:
        trips: A ``tripinfo`` file with unfinished and undeparted vehicles.
        ignore_edges: Vehicles that departed from these edges do not count.
        ignored: Names of further vehicles that do not count.

    Returns:
        ``delay_all``: mean delay of all vehicles in seconds, of unfinished and never inserted ones up to the end;
        ``delay``: of those that arrived, as the RESCO benchmark has it; ``unfinished``: how many did not arrive.
    """
    arrived, others = list[float](), list[float]()
    for _, trip in ElementTree.iterparse(trips):
        if trip.tag != "tripinfo" or trip.attrib["id"] in ignored:
            continue
        if trip.attrib["departLane"].rpartition("_")[0] in ignore_edges:
            continue
        delay = float(trip.attrib["timeLoss"]) + float(trip.attrib["departDelay"])
        (arrived if float(trip.attrib["arrival"]) >= 0 else others).append(delay)
    everyone = [*arrived, *others]
    return {
        "delay_all": sum(everyone) / max(len(everyone), 1),
        "delay": sum(arrived) / max(len(arrived), 1),
        "unfinished": float(len(others)),
    }
