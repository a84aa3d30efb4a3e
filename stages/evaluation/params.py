"""The section ``evaluate`` of params.yaml."""

from stages.base.sections import Section


class EvaluateParams(Section):
    """What models are tested on."""

    robustness: bool
