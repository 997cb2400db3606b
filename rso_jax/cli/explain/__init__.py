"""``rso explain``: what a run will cost before it starts, by the methods that can tell."""

from rso_jax.cli.explain.search import ExplainSearch, explain_search
from rso_jax.cli.explain.slopes import ExplainSlopes, explain_slopes

EXPLANATIONS: dict[str, type] = {"rso": ExplainSearch, "slopes": ExplainSlopes}
"""By the name that ``--optimizer`` takes; the first is the default."""

__all__ = ["EXPLANATIONS", "ExplainSearch", "ExplainSlopes", "explain_search", "explain_slopes"]
