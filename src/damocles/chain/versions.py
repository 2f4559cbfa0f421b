"""Networks by version, and the actors that run on them.

A message is made for the actors that will run it. What was never read about is not guessed: on a network newer than
these nothing is sent until there is a damocles that knows it.
"""

from typing import NamedTuple


class UnknownNetwork(Exception):
    """The network has a version that this damocles does not know: `version`. Nothing may be sent there."""

    def __init__(self, version: int) -> None:
        newest = max(_NETWORKS)
        if version > newest:
            what = f"newer than this damocles knows (up to {newest}): install a newer one; nothing is sent until then"
        else:
            what = f"too old: this damocles knows versions from {min(_NETWORKS)} on"
        super().__init__(f"the network has version {version}, {what}")
        self.version = version


class Network(NamedTuple):
    """A version of the network, its name and the version of its actors."""

    version: int
    name: str
    actors: int


_NETWORKS = {
    network.version: network
    for network in (
        Network(28, "FireHorse", 18),
        Network(29, "Solstice", 19),
    )
}


def network(version: int) -> Network:
    """Return what is known of a version.

    Raises:
        UnknownNetwork: Nothing is.
    """
    try:
        return _NETWORKS[version]
    except KeyError:
        raise UnknownNetwork(version) from None
