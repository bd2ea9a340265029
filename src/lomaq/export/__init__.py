"""Exported policies: files in which agents act without this package, and a contract that describes how to call them.

Decentralised execution needs the utilities alone, so neither mixer nor rewards are exported.
"""

from lomaq.export.files import export_checkpoint
from lomaq.export.parity import Parity, ParityError
from lomaq.export.policy import ExportedPolicy, Format

__all__ = ["ExportedPolicy", "Format", "Parity", "ParityError", "export_checkpoint"]
