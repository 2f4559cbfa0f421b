"""Serve JSON-RPC over HTTP and WebSocket, within limits."""
