"""PettingZoo, both ways: any of its parallel environments as ours, and ours as one of its.

Simulators run in processes of their own, which import :mod:`~lomaq.envs.pettingzoo.worker` and must not wait for torch:
nothing is imported here.
"""
