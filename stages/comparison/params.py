"""The section ``report`` of params.yaml."""

from stages.base.sections import Fraction, Section


class ReportParams(Section):
    """How the arms are compared."""

    margin: Fraction
