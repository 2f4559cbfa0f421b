"""Call JSON-RPC: with asyncio, without it, and streams."""
