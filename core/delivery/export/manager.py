"""A plan in one paragraph for whoever pays: what it serves, what that costs a month, and what may go wrong."""

from core.answers.advice import Choice, Plan, sentences
from core.answers.cost import HOURS_PER_MONTH
from core.basics.words import counted, ms, number, percent
from core.terms import Workload


def for_manager(plan: Plan) -> str:
    """The paragraph; empty where nothing can be deployed."""
    choice = plan.best
    if choice is None:
        return ""
    served = (f"{sentences.short(plan.spec)} on {sentences.hardware(choice.deployment)} serves "
              f"{counted(choice.concurrency, 'request')} at a time: an answer begins after {ms(choice.ttft.value)}"
              + (f" and flows at {number(1 / choice.tpot.value)} tokens per second." if choice.tpot.value > 0 else "."))
    return f"{served} {_price(choice)} {_quality(choice)} Main risk: {_risk(choice, plan.workload)}"


def _price(choice: Choice) -> str:
    if choice.usd_per_hour is None:
        return "No price of these GPUs is known."
    month = choice.usd_per_hour * HOURS_PER_MONTH
    return (f"Running all the time it costs about ${float(f'{month:.3g}'):,.0f} per month "
            f"({choice.deployment.gpu.price_source.partition(',')[0]}).")       # the rest lists every provider


def _quality(choice: Choice) -> str:
    return f"Its {sentences.weights(choice.deployment.weights)} mean {sentences.loss(choice.quality)}."


def _risk(choice: Choice, load: Workload) -> str:
    """The largest of what may go wrong: a target in reach of the range, a loss nobody knows, then the estimate."""
    for name, found, target_s in (("the wait for the first token", choice.ttft, load.ttft_slo_s),
                                  ("the time per token", choice.tpot, load.tpot_slo_s)):
        if found.high > target_s:
            return (f"{name} is {found.basis}, and its 80 % range reaches {ms(found.high)}, past the target of "
                    f"{ms(target_s)}: benchmark it before buying.")
    if choice.quality is None:
        return "nobody has published what this format costs in quality: check it on your own prompts."
    slower = choice.tpot.high / choice.tpot.value - 1
    return (f"speeds are {choice.tpot.basis} and may be {percent(slower)} slower, which the targets still allow; "
            "a benchmark of an hour settles it.") if slower > 0 else "none that these figures show."
