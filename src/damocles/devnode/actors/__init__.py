"""What actors make of messages: state in, state and receipt out. No I/O; proofs are checked by what is handed in."""
