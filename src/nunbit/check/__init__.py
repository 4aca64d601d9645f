"""The story of ``nunbit check``: what would be read of files, in seconds, without analysing."""

from nunbit.check.listing import check_text
from nunbit.check.result import Checked
from nunbit.check.settings import CheckSettings
from nunbit.check.story import check, check_document

__all__ = ["CheckSettings", "Checked", "check", "check_document", "check_text"]
