"""Why somebody could not even begin: the name of a server that was not resolved, and where the question ended."""

from collections.abc import Callable, Collection

from testbed.analysis.legs import KINDS, LegTraffic, find_traffic
from testbed.analysis.names import Question
from testbed.analysis.run import Run
from testbed.scenario import Leg

ExplainLoss = Callable[[Run, LegTraffic], str]


def explain_unresolved(run: Run, nodes: Collection[str], leg: Leg, explain_loss: ExplainLoss) -> str | None:
    """Say which name a host of *nodes* asked for last and was not told, and why; None where it was told or never asked.

    *leg* is any leg of the scenario: a form for the question's own; *explain_loss* says why packets did not arrive.
    """
    last = max(
        (question for question in run.questions if question.asker in nodes),
        key=lambda question: question.first_frame,
        default=None,
    )
    if last is None or last.has_records:
        return None
    why = _why(run, last, leg, explain_loss)
    return f"name not resolved: {last.asker} asked {last.server} for {last.name} ({last.kind}): {why}"


def _why(run: Run, question: Question, leg: Leg, explain_loss: ExplainLoss) -> str:
    if question.rcode is not None:
        why = f"the answer was {question.rcode} without a record (frame {question.answer_frame})"
    else:
        why = explain_loss(run, _traffic(run, question, leg))
    onward = next((each for each in run.questions if _is_onward(each, question)), None)
    if onward is None or onward.has_records:
        return why
    return f"{why}; {onward.asker} had asked {onward.server}: {_why(run, onward, leg, explain_loss)}"


def _is_onward(other: Question, question: Question) -> bool:
    return (other.asker, other.name, other.kind) == (question.server, question.name, question.kind)


def _traffic(run: Run, question: Question, leg: Leg) -> LegTraffic:
    asking = leg.model_copy(update={"flow": "dns", "from_": question.asker, "to": question.server})
    return find_traffic(asking, run.network, [walk for walk in run.walks.walks if walk.kind in KINDS["dns"]])
