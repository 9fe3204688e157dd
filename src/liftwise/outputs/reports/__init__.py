"""Reports: one HTML page, one workbook, single tables; the same figures in each."""

from liftwise.outputs.reports.attribution import attribution_table, attribution_words
from liftwise.outputs.reports.files import write_frame, write_html, write_table, write_xlsx
from liftwise.outputs.reports.mix import BRIEF, mix_table, mix_words
from liftwise.outputs.reports.words import lift_sentence

__all__ = [
    "BRIEF",
    "attribution_table",
    "attribution_words",
    "lift_sentence",
    "mix_table",
    "mix_words",
    "write_frame",
    "write_html",
    "write_table",
    "write_xlsx",
]
