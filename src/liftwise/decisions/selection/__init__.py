"""Who posts what for which event and when, with a proven bound; the rules it keeps and the engine behind it."""

from liftwise.decisions.selection.choose import DEFAULT, Selection, select

__all__ = ["DEFAULT", "Selection", "select"]
