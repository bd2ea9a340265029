"""Whether an environment keeps its contract, for tests of custom environments: ``check_env``.

from lomaq.testing import check_env

def test_my_environment_keeps_its_contract():
    check_env(MyEnvironment, rows=3)
"""

from lomaq.testing.report import Check, EnvCheckError, Report, check_env, examine

__all__ = ["Check", "EnvCheckError", "Report", "check_env", "examine"]
