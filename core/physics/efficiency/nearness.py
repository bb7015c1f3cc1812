"""How alike the errors of two estimates of one model on one GPU are: what an anchor says of its neighbours.

Variance components of log errors that cross-validation left on assets/published.csv, by
expectation-maximisation over the figures of each model, GPU, engine and format, rounded; distances by
coordinate search on the same likelihood. Errors of TTFT, TPOT and throughput in that order.
"""

from typing import Final

TERM: Final = 0.35                       # shift of a fitted term for one deployment [log or logit]
LEVEL: Final = (0.09, 0.05, 0.05)        # what no term explains, for all loads alike
LOCAL: Final = (0.29, 0.09, 0.13)        # the same, for similar loads only
NOISE: Final = (0.06, 0.02, 0.03)        # a repeat of the same run
# Distance at which the local part has fallen to 1/e: logs of requests, prompt, answer; logs of tp, pp, dp, ep
REACH: Final = (3.0, 7.0, 7.0, 1.0, 1.0, 3.0, 1.5)
OTHER_KIND: Final = 2.0                  # distance added where the engine's version or the mode is another
