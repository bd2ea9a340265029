"""The commands other than ``train``: their signatures are their settings, their docstrings what ``--help`` prints.

A command has a module of its own, which is imported when it runs, and what it needs with it.
"""

from lomaq.cli.command import Command

_HERE = __name__
#: Name of each command → what it does.
COMMANDS = {
    "info": Command(f"{_HERE}.info:info"),
    "compare": Command(f"{_HERE}.compare:compare"),
    "evaluate": Command(f"{_HERE}.evaluate:evaluate"),
    "certify": Command(f"{_HERE}.certify:certify", "lomaq.analysis.certificate.checkpoint:certify_checkpoint"),
    "decompose": Command(f"{_HERE}.decompose:decompose"),
    "export": Command(f"{_HERE}.export:export"),
    "check-env": Command(f"{_HERE}.check_env:check_env", any_key=True),
    "new env": Command(f"{_HERE}.new:new_env"),
    "card": Command(f"{_HERE}.card:card"),
    "push": Command(f"{_HERE}.push:push"),
    "graph": Command(f"{_HERE}.graph:graph", "lomaq.plots.graph:picture_graph"),
    "graph discover": Command(f"{_HERE}.graph:discover", "lomaq.plots.influence:picture_influence"),
    "bandit": Command(f"{_HERE}.bandit:bandit", "lomaq.studies.paper.bandit:run_bandits"),
    "figures": Command(f"{_HERE}.figures:figures"),
    "completion": Command(f"{_HERE}.completion:completion"),
}
