"""Where the road networks are: those that the installed package sumo-rl brings, and a person's own."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from defusedxml import DefusedXmlException, ElementTree

from lomaq.errors import INSTALL, InputError

#: Networks of the RESCO benchmark, by the name of their folder in sumo-rl.
NAMES = ("cologne3", "cologne8", "ingolstadt7", "ingolstadt21", "grid4x4", "arterial4x4")


class RoadFiles(NamedTuple):
    """A road network with its traffic.

    Attributes:
        net: The ``.net.xml`` file.
        routes: The ``.rou.xml`` file.
        begin: Second in which an episode begins.
    """

    net: Path
    routes: Path
    begin: int


def find_files(net: str, routes: str | None = None) -> RoadFiles:
    """Find a network by name, or check a person's own two files.

    Args:
        net: One of :data:`NAMES`, or the path of a ``.net.xml`` file.
        routes: The path of a ``.rou.xml`` file, exactly where ``net`` is a path.

    Raises:
        InputError: If a file is missing, or the package that brings the named networks.
    """
    if net in NAMES:
        if routes is not None:
            raise InputError("env.routes", f"null, since {net} has its own", routes)
        folder = require("sumo_rl", f"env.net={net}") / "nets" / "RESCO" / net
        begin = ElementTree.parse(folder / f"{net}.sumocfg").find("time/begin")
        assert begin is not None
        net_file, routes_file = next(folder.glob("*.net.xml")), next(folder.glob("*.rou.xml"))
        return RoadFiles(net_file, routes_file, int(begin.get("value", "0")))
    if not net.endswith(".xml"):
        raise InputError("env.net", f"one of {', '.join(NAMES)}, or the path of a .net.xml file", net)
    if routes is None:
        raise InputError("env.routes", "the .rou.xml file with the traffic of env.net", None)
    for name, file in (("env.net", net), ("env.routes", routes)):
        if not Path(file).is_file():
            raise InputError(name, "a file", f"{file}, which does not exist")
    return RoadFiles(Path(net), Path(routes), _first_departure(Path(routes)))


def _first_departure(routes: Path) -> int:
    try:
        for _, element in ElementTree.iterparse(routes, events=("start",)):
            if element.tag in ("vehicle", "trip", "flow"):
                return int(float(element.get("depart", element.get("begin", "0"))))
    except (ElementTree.ParseError, DefusedXmlException, ValueError) as error:
        raise InputError("env.routes", "a .rou.xml file", f"{routes}: {error}") from error
    raise InputError("env.routes", "a file with vehicles, trips or flows", f"none in {routes}")


def require(package: str, wanted: str) -> Path:
    """The folder of an installed package, which is not imported.

    Raises:
        InputError: If it is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(wanted, f"the package {package}", "none", INSTALL.format("sumo"))
    return Path(spec.submodule_search_locations[0])
