"""Mininet's command line in a running world: `python -m testbed.emulation.prompt PLAN`, started by the stage."""

import signal
import sys
from cmd import IDENTCHARS
from pathlib import Path

from mininet.cli import CLI
from mininet.log import setLogLevel

from testbed.emulation.network import EmulatedNetwork
from testbed.plan.model import Plan

_INTERFACE_FOLLOWS = frozenset({"-i", "-I", "dev", "--interface"})


class Prompt(CLI):  # type: ignore[misc]
    """Mininet's prompt for nodes with a dash in their name and interfaces named after neighbours."""

    prompt = "testbed> "
    identchars = IDENTCHARS + "-"

    def default(self, line: str) -> None:
        """Run a node's command; a node's name among its arguments stands for the node's address."""
        name, arguments, line = self.parseline(line)
        if name not in self.mn:
            self.stdout.write(f"unknown command {line!r}; `nodes` lists the nodes, `help` the commands\n")
        elif not arguments:
            self.stdout.write(f"what shall {name} do? like: {name} ip route\n")
        else:
            node = self.mn[name]
            node.sendCmd(" ".join(addressed(arguments.split(" "), self.mn)))
            self.waitForNode(node)


def addressed(words: list[str], network: EmulatedNetwork) -> list[str]:
    """Replace names of nodes by their addresses, but not where the name is that of an interface."""
    before = ["", *words]
    return [
        network[word].IP() or word if word in network and last not in _INTERFACE_FOLLOWS else word
        for last, word in zip(before, words, strict=False)
    ]


def main(arguments: list[str]) -> int:
    """Attach to the network that the stage has built and prompt until the user leaves."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by the rest of the world
    setLogLevel("output")
    network = EmulatedNetwork(Plan.model_validate_json(Path(arguments[0]).read_text()))
    network.attach()
    Prompt(network)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
