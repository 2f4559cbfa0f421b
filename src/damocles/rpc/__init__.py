"""JSON-RPC in the two dialects of damocles v0.13: the core without I/O, servers and clients.

A handler, a daemon and a command line each need one module only:

- `core`, `dialects`: a service, its methods, what it answers to which bytes;
- `asgi`, `site`, `server`: serve it over HTTP and WebSocket inside our own task group;
- `client`: call another daemon from a daemon;
- `subscription`: subscribe to a stream of another daemon;
- `sync`: call a daemon from a command line, with few imports;
- `errors`, `address`, `tls`: what may go wrong, where peers are, certificates.

Nothing is imported here, so that `damocles.rpc.calling.sync` starts fast.
"""
