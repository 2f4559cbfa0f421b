"""`Version`, `Auth…`, `Wallet…`, `Net…`, and what the state says of the network and of actors."""

import secrets
from typing import Any

import anyio.to_thread

import damocles
from damocles import bls
from damocles.chain import messages as formats
from damocles.chain.addresses import Address, Protocol
from damocles.chain.messages import Message, SignatureType
from damocles.devnode import rules, wallet
from damocles.devnode.api import shapes
from damocles.devnode.api.context import Api, Key, fail, one_of
from damocles.devnode.api.service import Service
from damocles.devnode.state import ROOT_ACCOUNT, SINGLETONS
from damocles.signing import PrivateKey

_API_VERSION = 2 << 16 | 3 << 8  # 2.3.0, Lotus v1.36's
_PAST_UPGRADES = (
    "Smoke", "Breeze", "Ignition", "Liftoff", "Assembly", "Refuel", "Tape", "Kumquat", "Calico", "Persian", "Orange",
    "Claus", "Trust", "Norwegian", "Turbo", "Hyperdrive", "Chocolate", "OhSnap", "Skyr", "Shark", "Hygge", "Lightning",
    "Thunder", "Watermelon", "Dragon", "Phoenix", "Waffle", "Tuktuk", "Teep", "Tock", "GoldenWeek", "FireHorse",
)  # fmt: skip
_NEVER = 100_000_000
_KINDS = {"bls": SignatureType.BLS, "secp256k1": SignatureType.SECP256K1}


class NetworkApi(Api):
    """Methods about the node, its wallet, the network and actors."""

    def serve(self, service: Service) -> None:
        """Serve them."""
        service.serve(
            "read",
            {
                "Version": self.version,
                "Session": self.session,
                "AuthVerify": self.verify,
                "NetPeers": self.peers,
                "NodeStatus": self.status,
                "SyncState": self.sync,
                "WalletBalance": self.balance,
                "StateNetworkName": self.name,
                "StateNetworkVersion": self.network_version,
                "StateGetNetworkParams": self.params,
                "StateActorCodeCIDs": self.codes,
                "StateActorManifestCID": self.manifest,
                "StateGetActor": self.actor,
                "StateLookupID": self.id_of,
                "StateAccountKey": self.key_of,
                "StateLookupRobustAddress": self.robust,
                "StateVerifiedRegistryRootKey": self.root,
                "StateVerifierStatus": self.verifier,
                "StateVerifiedClientStatus": self.client,
            },
        )
        service.serve(
            "write",
            {
                "WalletHas": self.has,
                "WalletList": self.list_keys,
                "WalletDefaultAddress": self.default,
                "WalletNew": self.new_key,
            },
        )
        service.serve("sign", {"WalletSign": self.sign, "WalletSignMessage": self.sign_message})
        service.serve("admin", {"AuthNew": self.new_token})

    # The node.

    async def version(self) -> dict[str, Any]:
        """Return what this is."""
        proofs = "+accepts-any-proof" if self.node.accepts_any_proof else ""
        return {
            "Version": f"{rules.NAME}-{damocles.__version__}{proofs}",
            "APIVersion": _API_VERSION,
            "BlockDelay": self.node.block_delay_seconds,
            "Agent": rules.NAME,
        }

    async def session(self) -> str:
        """Return what changes with a new devnet."""
        text = self.chain.first.ticket.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"

    async def verify(self, token: str) -> list[str]:
        """Return what a token allows."""
        found = wallet.permissions(self.chain.secret, token)
        if found is None:
            fail("JWT Verification failed: jwt: malformed token")
        return found

    async def new_token(self, permissions: list[str]) -> bytes:
        """Return a token for permissions."""
        return wallet.token(self.chain.secret, permissions).encode()

    async def peers(self) -> list[Any]:
        """Return nothing: a devnode is alone."""
        return []

    async def status(self, with_chain: bool) -> dict[str, Any]:
        """Return where the node is."""
        return {
            "SyncStatus": {"Epoch": self.head.height, "Behind": self.mischief.behind},
            "PeerStatus": {"PeersToPublishMsgs": 0, "PeersToPublishBlocks": 0},
            "ChainStatus": {"BlocksPerTipsetLast100": 0, "BlocksPerTipsetLastFinality": 0},
        }

    async def sync(self) -> dict[str, Any]:
        """Return that there is nothing to fetch."""
        return {"ActiveSyncs": [], "VMApplied": self.head.height}

    # The wallet.

    async def balance(self, address: Address) -> str:
        """Return the balance of an address, zero where there is nothing."""
        state = self.state(None)
        number = state.id_of(address)
        return str(0 if number is None else state.balance_of(number))

    async def has(self, address: Address) -> bool:
        """Return whether the wallet has a key."""
        return self.node.key_of(address) in self.node.wallet

    async def list_keys(self) -> list[str] | None:
        """Return whose keys the wallet has."""
        return one_of([shapes.text(address) for address in self.node.wallet.addresses()])

    async def default(self) -> str:
        """Return whose key is used where none is named."""
        return shapes.text(self.node.wallet.addresses()[0])

    async def new_key(self, kind: str) -> str:
        """Make a key."""
        if kind not in _KINDS:
            fail(f"unsupported key type {kind!r}")
        secret = secrets.token_bytes(32)
        key = PrivateKey(_KINDS[kind], bls.new_key(secret) if kind == "bls" else b"\1" + secret[1:])
        return shapes.text(await self.node.add_key(key))

    async def sign(self, address: Address, data: bytes) -> dict[str, Any]:
        """Sign bytes."""
        key = self.node.key_of(address)
        try:
            signature = await anyio.to_thread.run_sync(self.node.wallet.sign, key, data)
        except wallet.NoKey:
            fail(f"signing using key '{shapes.text(key)}': key not found")
        return {"Type": int(signature.type), "Data": shapes.octets(signature.data)}

    async def sign_message(self, address: Address, message: Message) -> dict[str, Any]:
        """Sign a message."""
        key = self.node.key_of(address)
        try:
            formats.kind_of_signature(key)
            signed = await anyio.to_thread.run_sync(self.node.wallet.sign_message, message)
        except (wallet.NoKey, ValueError):
            fail(f"failed to sign message: key not found for {shapes.text(key)}")
        return shapes.signed_message(signed)

    # The network.

    async def name(self) -> str:
        """Return the name of the devnet."""
        return self.node.rules.name

    async def network_version(self, key: Key) -> int:
        """Return the version of the network."""
        self.tipset(key)
        return self.node.rules.network_version

    async def params(self) -> dict[str, Any]:
        """Return what differs between networks."""
        upgrades = {f"Upgrade{name}Height": -1 - at for at, name in enumerate(_PAST_UPGRADES)}
        return {
            "NetworkName": self.node.rules.name,
            "BlockDelaySecs": self.node.block_delay_seconds,
            "ConsensusMinerMinPower": str(self.node.rules.sector_bytes),
            "PreCommitChallengeDelay": self.node.rules.challenge_delay,
            "ForkUpgradeParams": upgrades | {"BreezeGasTampingDuration": 0, "UpgradeXxHeight": _NEVER},
            "Eip155ChainID": 31415926,
            "GenesisTimestamp": self.chain.first.timestamp,
        }

    async def codes(self, version: int) -> dict[str, Any]:
        """Return the code of each kind of actor."""
        if version != self.node.rules.network_version:
            fail(f"invalid network version {version}: unsupported network version {version}")
        kinds = (
            *SINGLETONS.values(), "ethaccount", "evm", "multisig", "paymentchannel", "placeholder", "storageminer",
        )  # fmt: skip
        return {kind: shapes.link(shapes.code(kind)) for kind in sorted(set(kinds))}

    async def manifest(self, version: int) -> dict[str, str]:
        """Return what names all of them."""
        await self.codes(version)
        return shapes.link(shapes.invented(f"manifest {version}"))

    # Actors.

    async def actor(self, address: Address, key: Key) -> dict[str, Any]:
        """Return an actor."""
        state = self.state(key)
        number = state.id_of(address)
        if number is None:
            fail("actor not found")
        return shapes.actor(state, number)

    async def id_of(self, address: Address, key: Key) -> str:
        """Return the number of an actor."""
        number = self.state(key).id_of(address)
        if number is None:
            fail(f"failed to resolve address {shapes.text(address)}: actor not found")
        return shapes.of_id(number)

    async def key_of(self, address: Address, key: Key) -> str:
        """Return the key of an account."""
        if address.protocol in {Protocol.SECP256K1, Protocol.BLS}:
            return shapes.text(address)
        _, account = self.account(address, key)
        assert account.key is not None
        return shapes.text(account.key)

    async def robust(self, address: Address, key: Key) -> str:
        """Return the address of an actor that is not its number."""
        state = self.state(key)
        number = state.id_of(address)
        if number is not None and number in state.miners:
            return shapes.text(state.miners[number].robust)
        found = None if number is None else state.account(number).key
        if found is None:
            fail(f"failed to find robust address of {shapes.text(address)}: actor not found")
        return shapes.text(found)

    # Verified data.

    async def root(self, key: Key) -> str:
        """Return who names verifiers."""
        return shapes.of_id(ROOT_ACCOUNT)

    async def verifier(self, address: Address, key: Key) -> str | None:
        """Return how many bytes a verifier may give, null for others."""
        return self._bytes(self.state(key).registry.verifiers, address, key)

    async def client(self, address: Address, key: Key) -> str | None:
        """Return how many bytes a client may have stored, null for others."""
        return self._bytes(self.state(key).registry.clients, address, key)

    def _bytes(self, of: dict[int, int], address: Address, key: Key) -> str | None:
        number = self.state(key).id_of(address)
        found = None if number is None else of.get(number)
        return None if found is None else str(found)
