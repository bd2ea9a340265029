"""Machines whose failures spread: the environment, and its exact values."""

from lomaq.envs.sysadmin.env import SysAdmin, never, reboot_iff_failed

__all__ = ["SysAdmin", "never", "reboot_iff_failed"]
