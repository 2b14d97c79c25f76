"""What the first start allows. Pure."""

from user_billing.model import Scope

BOOTSTRAP_KEY_SCOPES = (Scope.METRICS_WRITE, Scope.METRICS_READ, Scope.ANALYSIS_RUN)
