"""A user whose client speaks no SIP: instant messages by the Front End's web service, over HTTPS."""

from agents.client import obey
from agents.pace import LoopLag
from agents.process import Commands, Message, Say, one_line


async def main(job: Message, commands: Commands, say: Say) -> None:
    """Be a client until told to stop."""
    # Not above: importing aiohttp takes a quarter of a second, which the forkserver would spend for every scenario.
    from agents.rest.client import FAILURES, RestClient, cause_of

    lag = LoopLag()
    client = RestClient(job, say)
    try:
        await client.sign_in()
    except FAILURES as error:
        # Not an exception of the program: the world goes on, and the verdict tells what it means.
        say({"type": "error", "what": f"registration failed: {cause_of(error)} ({one_line(error)})"})
    else:
        say({"type": "ready"})
    await obey(client, commands)
    await client.sign_out()
    say({"type": "result", "calls": [], "loop_lag_ns": lag.stop()})
